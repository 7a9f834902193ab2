"""The flags of each magic, and what to say about a line that cannot be read."""

from __future__ import annotations

import argparse
import builtins
import re
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from sutro_magic.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

WIDTH = 92
# The words of models.py and results.py, again: importing those doubles the time of %load_ext.
FORMATS = ("parquet", "csv", "json")
AS_TYPES = ("pandas", "polars", "arrow", "duckdb", "dask", "path", "results")
PEEK_ROWS = 100
STATUSES = ("queued", "starting", "running", "succeeded", "cancelling", "cancelled", "failed", "unknown")


class HelpRequested(Exception):  # noqa: N818 - not an error
    """``--help`` stood on the line; the text is the exception's argument."""


class MagicParser(argparse.ArgumentParser):
    """An argument parser that raises `ArgumentError` instead of leaving Python."""

    on_extra: str = ""
    """What to say of a word too many."""

    def __init__(
        self, name: str, description: str, examples: list[str], notes: str = "", usage: str | None = None
    ) -> None:
        self.examples = examples
        lines = "\n".join(f"  {line}" for line in examples)
        super().__init__(
            prog=f"%{name}",
            usage=usage,
            description=description,
            epilog=f"examples, which run as they are after %sutro_demo:\n{lines}"
            + (f"\n\n{notes}" if notes else ""),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH),
            add_help=False,
            allow_abbrev=False,  # an abbreviation breaks when a new flag comes
        )
        self.add_argument("-h", "--help", action="store_true", help="show this text")

    def parse_line(self, line: str, variables: Container[str] = ()) -> argparse.Namespace:
        """Parse what stands after the magic's name.

        Parameters
        ----------
        line : str
        variables : container of str
            Names that are defined, to say which one is not.

        Raises
        ------
        ArgumentError
            Naming the closest flag where one is misspelled.
        HelpRequested
        """
        words = self._split(line)
        if "-h" in words or "--help" in words:
            raise HelpRequested(self.format_help())
        _refuse_unexpanded(words, line, variables)
        known, unknown = self.parse_known_args(words)
        if unknown:
            self._refuse(unknown[0])
        return known

    def error(self, message: str) -> NoReturn:
        """Say what argparse has to say, with the next step."""
        raise ArgumentError(
            f"{self.prog}: {_plain(message)}.", hint=f"{self.prog}? shows all flags and examples."
        )

    def _split(self, line: str) -> list[str]:
        for comment in re.finditer(r"(?:^|\s)#(?=\s|$)", line):
            try:
                return shlex.split(line[: comment.start()].strip().removesuffix(";"))
            except ValueError:
                continue  # this # stands inside quotes
        try:
            return shlex.split(line.strip().removesuffix(";"))
        except ValueError:
            raise ArgumentError(
                f"{self.prog}: a quotation mark is not closed.",
                hint="Put names with spaces in quotes: 'my job'.",
            ) from None

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise ArgumentError(
                f"{self.prog}: one too many: {_cut(word)}.",
                hint=self.on_extra or f"{self.prog}? shows all flags and examples.",
            )
        flag = word.partition("=")[0]
        hint = _did_you_mean(flag, self._option_string_actions)
        raise ArgumentError(
            f"{self.prog} has no flag {_cut(flag)}.", hint=f"{hint}{self.prog}? shows all flags and examples."
        )


def _refuse_unexpanded(words: list[str], line: str, variables: Container[str]) -> None:
    """IPython leaves ``$name`` and ``{expr}`` as they are when one of them on the line fails."""
    if not any(re.match(r"(?:--[\w-]+=)?(?:\$\w|\$?\{)", word) for word in words):
        return
    found = re.findall(r"\$?\{[^{}]*\}?|\$\w+", line)  # the words have lost their quotes
    for text in found:
        name = text.strip("${}").strip()
        first = re.match(r"[^\W\d]\w*", name)
        if first and first[0] not in variables and not hasattr(builtins, first[0]):
            raise ArgumentError(
                f"{_cut(text)} was not replaced: {_cut(first[0])} is not defined here.",
                hint="Run the cell that defines it, or type the value itself.",
            )
    text = next((text for text in found if "{" in text), found[0])
    raise ArgumentError(
        f"{_cut(text)} was not replaced: IPython could not evaluate it.",
        hint=f"print({_cut(text.strip('${}').strip())}) in a cell of its own says why.",
    )


def _cut(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:39]}…"  # noqa: PLR2004 - enough to recognise it


def _plain(message: str) -> str:
    message = message.replace("the following arguments are required", "this is missing")
    return message[:300].rstrip(".")


class OneOf:
    """Reads one of some names, in any case, and knows the closest one to a mistake."""

    def __init__(self, what: str, names: tuple[str, ...]) -> None:
        self.what = what
        self.names = names

    def __call__(self, word: str) -> str:
        """Read one word."""
        if word.lower() in self.names:
            return word.lower()
        raise ArgumentError(
            f"There is no {self.what} {_cut(word)!r}.",
            hint=f"{_did_you_mean(word, self.names)}Choose one of {', '.join(self.names)}.",
        )


def _rows(word: str) -> int:
    """Read a number of rows."""
    if not (word.isascii() and word.isdigit()):
        raise ArgumentError(
            f"%sutro_results: {_cut(word)!r} after --peek is no number of rows.",
            hint="Put the job first: %sutro_results JOB_ID --peek 100.",
        )
    return int(word)


def _did_you_mean(word: str, names: Iterable[str]) -> str:
    import difflib  # here, because it costs a quarter of %load_ext

    close = difflib.get_close_matches(word.lower(), list(names), n=1)
    return f"Did you mean {close[0]}? " if close else ""


def results_parser() -> MagicParser:
    """Build the parser of ``%sutro_results``."""
    parser = MagicParser(
        "sutro_results",
        "Fetch the results of a finished job (or take them from the cache), show them, bind them.",
        [
            "%sutro_results job_12345",
            "%sutro_results job_12345 --format parquet --inputs --logprobs --name df",
            "df = %sutro_results job-demo-films --as polars",
            "r = %sutro_results 'Ten thousand films'  # a Results: r.pandas(), r.polars(), r.path",
            "%sutro_results job-demo-films --raw       # JSON outputs as text instead of columns",
            "%sutro_results job-demo-films --save films.csv --overwrite  # or .parquet, .jsonl",
            "%sutro_results job-demo-million --peek    # the first 100 rows, without fetching the rest",
            "%sutro_results {job_id} --refresh",
        ],
        "As the last line of a cell it returns a Results, which shows itself; with --name it\n"
        "shows at once, binds the variable after success, and returns nothing: in\n"
        "`df = %sutro_results ... --name df` the assignment would replace df by None.",
        usage=(
            "%(prog)s JOB_ID [--format parquet|csv|json] [--inputs] [--logprobs] [--name VAR]\n"
            "                      [--as TYPE] [--raw | --unfold] [--save PATH [--overwrite]]\n"
            "                      [--peek [N]] [--refresh] [--wait] [--quiet]"
        ),
    )
    add = parser.add_argument
    parser.on_extra = "A name with spaces needs quotes: 'my job'. A variable is bound with --name VAR."
    add("job", metavar="JOB_ID", help="id of the job, a unique beginning of it, or the job's exact name")
    add(
        "--format",
        "--result-format",
        type=OneOf("format", FORMATS),
        metavar="FORMAT",
        help="format over the wire: parquet (default), csv or json; the table is the same in each",
    )
    yes_or_no: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": None}
    add("--inputs", "--include-inputs", **yes_or_no, help="include the prompts")
    add(
        "--logprobs",
        "--include-cumulative-logprobs",
        **yes_or_no,
        help="include the cumulative log probabilities",
    )
    add("--name", metavar="VAR", help="bind this variable, after success")
    add(
        "--as",
        dest="as_type",
        type=OneOf("type", AS_TYPES),
        metavar="TYPE",
        help="what is bound or returned: pandas, polars, arrow, duckdb, dask, path or results",
    )
    outputs = parser.add_mutually_exclusive_group()
    outputs.add_argument(
        "--raw", dest="unfold", action="store_const", const=False, help="keep JSON outputs as text, as sent"
    )
    outputs.add_argument(
        "--unfold",
        action="store_const",
        const=True,
        help="make columns of JSON outputs even if most outputs are none",
    )
    add("--save", metavar="PATH", help="save the table, too: as .parquet, .csv or .jsonl, by the ending")
    add("--overwrite", action="store_true", help="let --save replace a file that is there")
    add("--refresh", action="store_true", help="ignore the cache and fetch anew")
    add("--wait", action="store_true", help="if the job is not final yet, wait for it first")
    add("--quiet", action="store_true", help="bind, show nothing")
    add(
        "--peek",
        nargs="?",
        type=_rows,
        const=PEEK_ROWS,
        metavar="N",
        help="only the first N rows (default 100), by reading no more of a large Parquet artifact than they need",
    )
    return parser


def jobs_parser() -> MagicParser:
    """Build the parser of ``%sutro_jobs``."""
    parser = MagicParser(
        "sutro_jobs",
        "List jobs, newest first.",
        [
            "%sutro_jobs",
            "%sutro_jobs --status succeeded --limit 20",
            "%sutro_jobs --search review --name jobs",
        ],
    )
    add = parser.add_argument
    parser.on_extra = "To look for words, %sutro_jobs --search TEXT."
    add("--status", metavar="STATUS", help=f"only jobs with this status: {', '.join(STATUSES)}")
    add("--search", metavar="TEXT", help="only jobs whose id, name, description or model contains this text")
    add("--limit", type=int, default=100, metavar="N", help="at most so many jobs (default 100)")
    add("--name", metavar="VAR", help="bind the list as a pandas DataFrame")
    return parser


def status_parser() -> MagicParser:
    """Build the parser of ``%sutro_status``."""
    parser = MagicParser(
        "sutro_status",
        "Show one job: status, times, rows, tokens, cost, failure reason.",
        ["%sutro_status job-demo-failed", "job = %sutro_status job_12345"],
    )
    parser.add_argument("job", metavar="JOB_ID", help="id, unique beginning of it, or exact name")
    return parser


def wait_parser() -> MagicParser:
    """Build the parser of ``%sutro_wait``."""
    parser = MagicParser(
        "sutro_wait",
        "Wait until a job is final. Interrupting the cell leaves the job alone.",
        ["%sutro_wait job-demo-queued", "%sutro_wait job-demo-queued --timeout 600"],
    )
    parser.add_argument("job", metavar="JOB_ID", help="id, unique beginning of it, or exact name")
    parser.add_argument("--timeout", type=float, metavar="S", help="give up after so many seconds")
    return parser


def profile_parser() -> MagicParser:
    """Build the parser of ``%sutro_profile``."""
    parser = MagicParser(
        "sutro_profile",
        "Profile the results of a job: lengths, log probabilities, values of each field, parse errors, duplicates.",
        [
            "%sutro_profile job-demo-films",
            "%sutro_profile job-demo-broken --no-inputs",
            "p = %sutro_profile job-demo-films         # p.fields, p.texts, p.logprobs have the figures",
        ],
        "All figures are exact and over all rows. Prompts and log probabilities are fetched for it;\n"
        "--no-inputs spares the download of long prompts.",
    )
    parser.add_argument("job", metavar="JOB_ID", help="id, unique beginning of it, or exact name")
    yes_or_no: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": True}
    parser.add_argument("--inputs", **yes_or_no, help="look at the prompts, too (default)")
    parser.add_argument("--logprobs", **yes_or_no, help="look at the log probabilities, too (default)")
    return parser


def compare_parser() -> MagicParser:
    """Build the parser of ``%sutro_compare``."""
    parser = MagicParser(
        "sutro_compare",
        "Compare jobs over the same inputs: agreement per field, confusion matrices, the rows that differ first.",
        [
            "%sutro_compare job-demo-reviews job-demo-opinion",
            "%sutro_compare job-demo-reviews job-demo-opinion --name pairs",
            "c = %sutro_compare job-demo-reviews job-demo-opinion  # c.fields, c.differing, c.rows",
        ],
        "Rows are aligned by their place, so all jobs have the same number of rows; inputs are fetched to check\n"
        "that they are the same. Equal is the same value; null equals null. Job A is the first, B the second.",
        usage="%(prog)s JOB_ID JOB_ID [JOB_ID ...] [--name VAR] [--as TYPE] [--no-inputs]",
    )
    parser.on_extra = "Put all jobs first, then the flags. A name with spaces needs quotes: 'my job'."
    add = parser.add_argument
    add(
        "jobs",
        nargs="+",
        metavar="JOB_ID",
        help="ids, unique beginnings of them, or exact names: 2 to 6 jobs",
    )
    add("--name", metavar="VAR", help="bind the aligned rows, after success")
    add(
        "--as",
        dest="as_type",
        type=OneOf("type", tuple(name for name in AS_TYPES if name != "path")),
        metavar="TYPE",
        help="what is bound or returned: pandas, polars, arrow, duckdb, dask or results",
    )
    yes_or_no: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": True}
    add("--inputs", **yes_or_no, help="check that the inputs are the same (default), and show them")
    return parser


def browse_parser() -> MagicParser:
    """Build the parser of ``%sutro_browse``."""
    return MagicParser(
        "sutro_browse",
        "Open the job browser: find a job, watch it, fetch it, bind it, by mouse or keyboard.",
        ["%sutro_browse", "b = %sutro_browse         # b.results holds what was fetched last"],
        "Fetches run in the background: other cells can be used meanwhile.",
    )


def cache_parser() -> MagicParser:
    """Build the parser of ``%sutro_cache``."""
    parser = MagicParser(
        "sutro_cache",
        "Look at the results kept on disk, or delete them.",
        [
            "%sutro_cache list",
            "%sutro_cache info job_12345",
            "%sutro_cache verify            # is every byte as it was fetched?",
            "%sutro_cache clear job_12345",
            "%sutro_cache clear --older-than 30d",
            "%sutro_cache clear --all",
            "%sutro_cache path",
        ],
        "verify reads every file of this key's results, or of one job, and deletes those that are damaged.\n"
        "When the cache outgrows its limit, what was used longest ago goes: tables made of results first,\n"
        "then results. %config SutroMagics.cache_limit = '5GB' sets the limit.",
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        type=OneOf("action", ("list", "info", "verify", "clear", "path")),
        metavar="ACTION",
        help="list (default), info, verify, clear or path",
    )
    parser.add_argument("job", nargs="?", metavar="JOB_ID", help="the job, for info, verify and clear")
    parser.add_argument("--older-than", metavar="AGE", help="clear what was fetched longer ago: 12h, 30d, 8w")
    parser.add_argument("--all", action="store_true", help="clear everything, other keys' results too")
    return parser


def login_parser() -> MagicParser:
    """Build the parser of ``%sutro_login``."""
    parser = MagicParser(
        "sutro_login",
        "Set the deployment and the API key for this kernel. The key is asked for, never typed on the line.",
        ["%sutro_login --url https://acme.example", "%sutro_login --save"],
    )
    parser.add_argument("--url", metavar="URL", help="address of the deployment; else the one in use")
    parser.add_argument(
        "--save", action="store_true", help="also write both to ~/.sutro/config.json, which the SDK reads"
    )
    return parser


def demo_parser() -> MagicParser:
    """Build the parser of ``%sutro_demo``."""
    parser = MagicParser(
        "sutro_demo",
        "Run the embedded demo service on this machine: no account, no network.",
        [
            "%sutro_demo",
            "%sutro_demo fault          # the list of faults",
            "%sutro_demo fault slow",
            "%sutro_demo fault off",
            "%sutro_demo stop           # back to the earlier credentials",
        ],
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="start",
        type=OneOf("action", ("start", "stop", "reset", "fault")),
        metavar="ACTION",
        help="start (default), stop, reset or fault",
    )
    parser.add_argument("fault", nargs="?", metavar="NAME", help="the fault to switch on, or off")
    return parser
