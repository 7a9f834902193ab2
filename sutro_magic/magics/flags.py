"""The flags of each magic."""

from __future__ import annotations

import argparse
from typing import Any

from sutro_magic.errors import ArgumentError
from sutro_magic.magics.parser import MagicParser, OneOf, short

# The words of models.py and results.py, again: importing those doubles the time of %load_ext.
FORMATS = ("parquet", "csv", "json")
AS_TYPES = ("pandas", "polars", "arrow", "duckdb", "dask", "path", "results")
SQL_TYPES = tuple(name for name in AS_TYPES if name != "path")
PEEK_ROWS = 100
STATUSES = ("queued", "starting", "running", "succeeded", "cancelling", "cancelled", "failed", "unknown")


def _rows(word: str) -> int:
    """Read a number of rows."""
    if not (word.isascii() and word.isdigit()):
        raise ArgumentError(
            f"%sutro_results: {short(word)!r} after --peek is not a number of rows.",
            hint="Like this, with the job first: %sutro_results JOB_ID --peek 100.",
        )
    return int(word)


def results_parser() -> MagicParser:
    """Build the parser of ``%sutro_results``."""
    parser = MagicParser(
        "sutro_results",
        "Fetch the results of a finished job (or take them from the cache), show them, bind them.",
        [
            "%sutro_results job_12345",
            "%sutro_results job_12345 --format parquet --inputs --logprobs --name df",
            "df = %sutro_results job-demo-films --as polars",
            "r = %sutro_results 'Ten thousand films'  # a Results: r.to_pandas(), r.to_polars(), r.path",
            "%sutro_results job-demo-films --raw       # JSON outputs as text instead of columns",
            "%sutro_results job-demo-films --save films.csv --overwrite  # or .parquet, .jsonl",
            "%sutro_results job-demo-million --peek    # the first 100 rows, without fetching the rest",
            "job_id = 'job_12345'\n  %sutro_results {job_id} --refresh",
            (
                "import pandas as pd; letters = pd.DataFrame({'letter_id': [1000, 1001]})\n"
                "  %sutro_results job-demo-zoo --join letters --on letter_id --name answered"
            ),
        ],
        "As the last line of a cell it returns a Results, which shows itself; with --name it\n"
        "shows at once, binds the variable after success, and returns nothing: in\n"
        "`df = %sutro_results ... --name df` the assignment would replace df by None.",
        usage=(
            "%(prog)s JOB_ID [--format parquet|csv|json] [--inputs] [--logprobs] [--name VAR]\n"
            "                      [--as TYPE] [--raw | --unfold] [--save PATH [--overwrite]]\n"
            "                      [--join DF [--on COLUMN]] [--peek [N]] [--refresh] [--wait] [--quiet]"
        ),
    )
    add = parser.add_argument
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
        help="make columns of JSON outputs even if most outputs are not JSON objects",
    )
    add("--join", metavar="DF", help="put the results beside this frame: a new one, of the same type")
    add("--on", metavar="COLUMN", help="with --join: find rows by this ID column instead of by position")
    add("--save", metavar="PATH", help="save the table, too: as .parquet, .csv or .jsonl, by the ending")
    add("--overwrite", action="store_true", help="let --save replace a file that is there")
    add("--refresh", action="store_true", help="ignore the cache and fetch again")
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


def sql_parser() -> MagicParser:
    """Build the parser of ``%%sutro_sql``."""
    parser = MagicParser(
        "%sutro_sql",
        "Run one SQL query of DuckDB over results in the cache and over tables of the notebook.",
        [
            '%%sutro_sql\n  select genre, count(*) as films from "job-demo-films" group by genre',
            '%%sutro_sql --name late\n  from "job-demo-films" where year > {1990 + 20} order by year limit {10}',
            (
                "%%sutro_sql --name same_year --as polars\n  "
                'select f.title, m.title from "job-demo-films" f join "job-demo-museum" m on f.year = m.acquired.year'
            ),
        ],
        "A name in FROM is a variable with a table (pandas, Polars, Arrow, DuckDB, a Results), else a job:\n"
        "its id, a unique beginning of it or its name, in double quotes. A job that is not in the cache is fetched.\n"
        "{expression} is evaluated by Python and stands for a value, never for a name or a part of the SQL.\n"
        "SQL only reads: no files, nothing that changes something.",
        usage="%(prog)s [--name VAR] [--as TYPE]\n       SQL, on the lines below",
    )
    add = parser.add_argument
    parser.on_extra = "The SQL begins on the line below %%sutro_sql."
    parser.set_defaults(quiet=False)
    add("--name", metavar="VAR", help="bind this variable, after success")
    add(
        "--as",
        dest="as_type",
        type=OneOf("type", SQL_TYPES),
        metavar="TYPE",
        help=f"what is bound or returned: {', '.join(SQL_TYPES[:-1])} or {SQL_TYPES[-1]}",
    )
    return parser


def status_parser() -> MagicParser:
    """Build the parser of ``%sutro_status``."""
    parser = MagicParser(
        "sutro_status",
        "Show one job: status, times, rows, tokens, cost, failure reason, cached results.",
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
    parser.add_argument("--inputs", **yes_or_no, help="profile the prompts, too (default)")
    parser.add_argument("--logprobs", **yes_or_no, help="profile the log probabilities, too (default)")
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
        "that they are the same. Equal is the same value; null equals null. Job A is the first, B the second.\n"
        "Mean abs. difference, of numbers: the mean of |A - B|, over the rows where both have one.",
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
    add(
        "--name",
        metavar="VAR",
        help="bind all aligned rows, after success: those that differ in most fields first",
    )
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
        "Show the results kept on disk, or delete them.",
        [
            "%sutro_cache list",
            "%sutro_results job_12345 --quiet --name df\n  %sutro_cache info job_12345",
            "%sutro_cache verify            # is every byte as it was fetched?",
            "%sutro_cache clear job_12345",
            "%sutro_cache clear --older-than 30d",
            "%sutro_cache clear --all",
            "%sutro_cache path",
        ],
        "verify reads every file of this key's results, or of one job, and deletes those that are damaged.\n"
        "When the cache outgrows its limit, the least recently used are deleted: tables made of results first,\n"
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
        lead="examples; the address is that of your own deployment:",
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


def help_parser() -> MagicParser:
    """Build the parser of ``%sutro_help``."""
    parser = MagicParser(
        "sutro_help",
        "Show a page of the guide, or the help of a magic; without a topic, the list of both.",
        [
            "%sutro_help",
            "%sutro_help cache",
            "%sutro_help sutro_results      # the same as %sutro_results --help",
        ],
        lead="examples:",
    )
    parser.on_extra = "One topic at a time; %sutro_help lists them."
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="a page of the guide, or the name of a magic"
    )
    return parser


PARSERS = {
    "sutro_results": results_parser,
    "sutro_sql": sql_parser,
    "sutro_jobs": jobs_parser,
    "sutro_status": status_parser,
    "sutro_wait": wait_parser,
    "sutro_profile": profile_parser,
    "sutro_compare": compare_parser,
    "sutro_browse": browse_parser,
    "sutro_cache": cache_parser,
    "sutro_login": login_parser,
    "sutro_demo": demo_parser,
    "sutro_help": help_parser,
}
"""Parsers of all magics, by name."""
