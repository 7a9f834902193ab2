"""The magics: each parses its line, calls the session, shows and binds."""

from __future__ import annotations

import builtins
import keyword
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, line_magic, magics_class
from traitlets import Bool, Enum, Int, Unicode, observe

from sutro_magic import arguments
from sutro_magic.errors import ArgumentError, ConfigurationError, JobNotFoundError, SutroError
from sutro_magic.ui.display import TYPE_WORDS, Display

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from sutro_magic.cache import CacheEntry
    from sutro_magic.credentials import Credentials
    from sutro_magic.demo import DemoService
    from sutro_magic.session import Session

MAGIC_NAMES = (
    "sutro_results",
    "sutro_jobs",
    "sutro_status",
    "sutro_wait",
    "sutro_cache",
    "sutro_login",
    "sutro_demo",
)
DEMO_IDENTITY = "demo"
"""Cache identity of the demo service, whose port and key change at every start."""

_HOURS = {"h": 1, "d": 24, "w": 24 * 7}

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """The user interrupted; says how to go on. A `KeyboardInterrupt`, so that Run All stops too."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self._message}"]


def _documented(parser: Callable[[], arguments.MagicParser]) -> Callable[[T], T]:
    def document(function: T) -> T:
        function.__doc__ = parser().format_help()
        return function

    return document


@magics_class
class SutroMagics(Magics):
    """Magics that bring the results of Sutro jobs into the notebook."""

    format = Enum(arguments.FORMATS, "parquet", help="Format over the wire where --format does not say.").tag(
        config=True
    )
    inputs = Bool(False, help="Include the prompts where --inputs does not say.").tag(config=True)
    logprobs = Bool(False, help="Include log probabilities where --logprobs does not say.").tag(config=True)
    as_type = Enum(arguments.AS_TYPES, "pandas", help="What --name binds where --as does not say.").tag(
        config=True
    )
    page_length = Int(10, min=1, max=1000, help="Rows on one page of a table.").tag(config=True)
    cache_dir = Unicode(
        "", help="Folder of the cache; empty for SUTRO_MAGIC_CACHE_DIR or the user's cache folder."
    ).tag(config=True)
    debug = Bool(False, help="Show whole tracebacks.").tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.shell: Any = shell
        self.display = Display(shell, lambda: self.page_length)
        self._session: Session | None = None
        self._demo: DemoService | None = None
        self._before_demo: Credentials | None = None

    @property
    def session(self) -> Session:
        """The session behind the magics, made at first use."""
        if self._session is None:
            from sutro_magic.session import Session

            self._session = Session(cache_dir=self.cache_dir or None)
        return self._session

    def close(self) -> None:
        """Stop the demo service and close connections."""
        self._stop_demo()
        if self._session is not None:
            self._session.close()

    @observe("debug")
    def _debug_changed(self, change: dict[str, Any]) -> None:
        SutroError.debug = change["new"]

    @observe("cache_dir")
    def _cache_dir_changed(self, change: dict[str, Any]) -> None:
        if self._session is not None:
            from sutro_magic.cache import ResultsCache

            self._session.cache = ResultsCache(change["new"] or None)

    # --- results ------------------------------------------------------------------------------

    @_documented(arguments.results_parser)
    @line_magic
    def sutro_results(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.results_parser(), line)
        if options is None:
            return None
        if options.name is not None:
            _check_name(options.name)
        as_type: Any = options.as_type or (self.as_type if options.name else "results")
        wire: Any = options.format or self.format

        from sutro_magic.results import require
        from sutro_magic.ui.progress import ProgressLine

        require(as_type)
        progress = ProgressLine(notebook=self.display.notebook, silent=options.quiet)
        self.session.on_retry = progress.on_retry
        try:
            results = self.session.results(
                options.job,
                format=wire,
                inputs=self.inputs if options.inputs is None else options.inputs,
                logprobs=self.logprobs if options.logprobs is None else options.logprobs,
                refresh=options.refresh,
                wait=options.wait,
                on_bytes=progress.on_bytes,
                on_poll=progress.on_poll,
                on_notice=print,
            )
            value = results.to(as_type)
        except KeyboardInterrupt:
            progress.stopped()
            raise Interrupted(
                "nothing was bound and the cache is as it was. Run the cell again to fetch."
            ) from None
        except BaseException:
            progress.stopped()
            raise
        progress.done()
        if options.name is None:
            if options.quiet and as_type == "results":
                from sutro_magic.ui.display import quiet

                quiet.add(results)
            return value
        self.shell.user_ns[options.name] = value
        if not options.quiet:
            self.display.show(self.display.results(results, f"{options.name}: {TYPE_WORDS[as_type]}"))
        return None

    # --- jobs ---------------------------------------------------------------------------------

    @_documented(arguments.jobs_parser)
    @line_magic
    def sutro_jobs(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.jobs_parser(), line)
        if options is None:
            return None
        if options.name is not None:
            _check_name(options.name)
        try:
            jobs = self.session.jobs(limit=options.limit, status=options.status, search=options.search)
        except KeyboardInterrupt:
            raise Interrupted("run the cell again to list the jobs.") from None
        if options.name is None:
            return jobs
        self.shell.user_ns[options.name] = jobs.pandas()
        self.display.show(self.display.jobs(jobs, f"{options.name}: pandas DataFrame"))
        return None

    @_documented(arguments.status_parser)
    @line_magic
    def sutro_status(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.status_parser(), line)
        if options is None:
            return None
        try:
            return self.session.job(options.job)
        except KeyboardInterrupt:
            raise Interrupted("run the cell again to look at the job.") from None

    @_documented(arguments.wait_parser)
    @line_magic
    def sutro_wait(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.wait_parser(), line)
        if options is None:
            return None
        from sutro_magic.ui.progress import ProgressLine

        progress = ProgressLine(notebook=self.display.notebook)
        try:
            job = self.session.wait(options.job, options.timeout, on_poll=progress.on_poll)
        except KeyboardInterrupt:
            progress.stopped()
            raise Interrupted(
                f"the job goes on. %sutro_wait {options.job} waits on, %sutro_status {options.job} looks once."
            ) from None
        except BaseException:
            progress.stopped()
            raise
        progress.done()
        return job

    # --- cache --------------------------------------------------------------------------------

    @_documented(arguments.cache_parser)
    @line_magic
    def sutro_cache(self, line: str) -> None:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.cache_parser(), line)
        if options is None:
            return
        if options.job and options.action not in {"info", "clear"}:
            raise ArgumentError(
                f"%sutro_cache {options.action} takes no job.", hint=f"%sutro_cache info {options.job}"
            )
        if options.action == "path":
            print(self.session.cache.directory)  # noqa: T201 - the answer
        elif options.action == "list":
            self._list_cache()
        elif options.action == "info":
            self._describe_entry(options.job)
        else:
            self._clear_cache(options)

    def _list_cache(self) -> None:
        from sutro_magic.ui import table, words

        cache = self.session.cache
        mine, everything = cache.entries(self.session.credentials.identity), cache.entries()
        caption = [
            f"{words.count(len(mine), 'result')} in {words.place(cache.directory)}, {words.size(sum(e.size for e in mine))}"
        ]
        others = len(everything) - len(mine)
        if others:
            size = words.size(sum(e.size for e in everything) - sum(e.size for e in mine))
            caption.append(f"and {others:,} of other keys or deployments, {size}")
        self.display.show(self.display.view(table.entries_view(mine, caption)))

    def _describe_entry(self, job: str | None) -> None:
        from sutro_magic.ui import table

        for entry in self._entries_of(job):
            self.display.show(self.display.view(table.entry_view(entry)))

    def _clear_cache(self, options: argparse.Namespace) -> None:
        from sutro_magic.ui import words

        cache = self.session.cache
        if sum((options.job is not None, options.older_than is not None, options.all)) != 1:
            raise ArgumentError(
                "%sutro_cache clear: say what to clear, a job or --older-than or --all.",
                hint="%sutro_cache clear JOB_ID, %sutro_cache clear --older-than 30d, or %sutro_cache clear --all.",
            )
        if options.all:
            count, size = cache.clear()
        elif options.older_than:
            count, size = cache.clear(before=datetime.now(UTC) - _parse_age(options.older_than))
        else:
            identity = self.session.credentials.identity
            job_id = self._entries_of(options.job, whole=True)[0].request.job_id
            count, size = cache.clear(identity=identity, job_id=job_id)
        of = f" of {job_id}" if options.job else ""
        print(f"{words.count(count, 'result')}{of} deleted, {words.size(size)} freed.")  # noqa: T201 - the answer

    def _entries_of(self, job: str | None, *, whole: bool = False) -> list[CacheEntry]:
        if not job:
            raise ArgumentError(
                "%sutro_cache: which job?", hint="%sutro_cache list shows those in the cache."
            )
        entries = self.session.cache.entries(self.session.credentials.identity)
        for matches in (
            [e for e in entries if e.request.job_id == job],
            [e for e in entries if e.label == job],
            [e for e in entries if e.request.job_id.startswith(job) and not whole],
        ):
            if len({entry.request.job_id for entry in matches}) > 1:
                raise ArgumentError(
                    f"{job!r} fits several cached jobs.", hint="Give a whole id; %sutro_cache list."
                )
            if matches:
                return matches
        raise JobNotFoundError(
            f"The cache holds nothing of {job[:60]!r}.",
            job_id=job,
            hint="%sutro_cache list shows what it holds.",
        )

    # --- credentials --------------------------------------------------------------------------

    @_documented(arguments.login_parser)
    @line_magic
    def sutro_login(self, line: str) -> None:  # noqa: D102 - documented by its parser
        try:
            options = self._parse(arguments.login_parser(), line)
        except ArgumentError:
            # Said without repeating the line, because a key may stand there.
            raise ArgumentError(
                "%sutro_login takes --url URL and --save, and no key on the line: the notebook would keep it.",
                hint="If a key stood there, delete it and make a new one. %sutro_login alone asks for the key.",
            ) from None
        if options is None:
            return
        from sutro_magic import credentials

        url = options.url or self.session.credentials.base_url
        credentials.normalise_url(url)
        # Not in a variable of its own: a verbose traceback shows variables.
        fresh = credentials.make_credentials(url, self._ask_key(url), "%sutro_login")
        from sutro_magic.client import Client

        client = Client(fresh)
        try:
            client.check_key()
        finally:
            client.close()
        self.session.use(fresh)
        print(f"Logged in at {client.place} for this kernel.")  # noqa: T201 - the answer
        if options.save:
            path = credentials.save_config(fresh)
            print(f"Saved to {path}, which only you can read.")  # noqa: T201 - the answer

    def _ask_key(self, url: str) -> str:
        import getpass

        from IPython.core.error import StdinNotImplementedError

        try:
            key = getpass.getpass(f"API key for {url.removesuffix('/v1')}: ")
        except (StdinNotImplementedError, EOFError, OSError):
            raise ConfigurationError(
                "Nothing can be asked here, so there is no key.",
                hint="Set SUTRO_API_URL and SUTRO_API_KEY in the environment of the notebook instead.",
            ) from None
        except KeyboardInterrupt:
            raise Interrupted("the credentials are as they were.") from None
        if not key.strip():
            raise ConfigurationError(
                "No key was entered; the credentials are as they were.", hint="%sutro_login"
            )
        return key

    # --- demo ---------------------------------------------------------------------------------

    @_documented(arguments.demo_parser)
    @line_magic
    def sutro_demo(self, line: str) -> None:  # noqa: D102 - documented by its parser
        options = self._parse(arguments.demo_parser(), line)
        if options is None:
            return
        if options.fault and options.action != "fault":
            raise ArgumentError(f"%sutro_demo {options.action} takes nothing more.", hint="%sutro_demo?")
        if options.action == "start":
            self._start_demo()
        elif options.action == "stop":
            said = "The demo service is stopped; the earlier credentials are back."
            print(said if self._stop_demo() else "The demo service is not running.")  # noqa: T201 - the answer
        elif options.action == "reset":
            self._running_demo().reset()
            self.session.cache.clear(identity=DEMO_IDENTITY)
            print("The demo service is as new: no fault, its cached results are gone.")  # noqa: T201 - the answer
        else:
            self._set_fault(options.fault)

    def _start_demo(self) -> None:
        from sutro_magic import credentials
        from sutro_magic.demo import DemoService

        fresh = self._demo is None
        if self._demo is None:
            self._before_demo = self.session.fixed_credentials
            self._demo = DemoService().start()
        demo = self._demo
        self.session.use(
            credentials.make_credentials(demo.url, demo.api_key, "the demo service", identity=DEMO_IDENTITY)
        )
        print(  # noqa: T201 - the answer
            f"The demo service {'runs' if fresh else 'already runs'} at {demo.url}: no account, no network.\n"
            "Try %sutro_jobs, then %sutro_results job_12345 --inputs; %sutro_demo stop ends it."
        )

    def _stop_demo(self) -> bool:
        if self._demo is None:
            return False
        demo, self._demo = self._demo, None
        if self.session.credentials.identity == DEMO_IDENTITY:
            self.session.use(self._before_demo)
        demo.stop()
        return True

    def _set_fault(self, name: str | None) -> None:
        from sutro_magic.ui.static import PairsView

        demo = self._running_demo()
        if name is None:
            title = f"Fault on now: {demo.fault}" if demo.fault else "No fault is on"
            self.display.show(self.display.view(PairsView(title=title, pairs=dict(demo.FAULTS))))
        elif name == "off":
            demo.clear_faults()
            print("No fault is on.")  # noqa: T201 - the answer
        else:
            demo.set_fault(name)
            print(f"Fault on: {name}: {demo.FAULTS[name]} %sutro_demo fault off ends it.")  # noqa: T201 - the answer

    def _running_demo(self) -> DemoService:
        if self._demo is None:
            raise ArgumentError("The demo service is not running.", hint="%sutro_demo starts it.")
        return self._demo

    # --- inside -------------------------------------------------------------------------------

    def _parse(self, parser: arguments.MagicParser, line: str) -> argparse.Namespace | None:
        try:
            return parser.parse_line(line)
        except arguments.HelpRequested as help_text:
            print(help_text)  # noqa: T201 - what was asked for
            return None


def _check_name(name: str) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ArgumentError(
            f"{name[:60]!r} cannot be the name of a variable.",
            hint="Use letters, digits and _, like --name df.",
        )
    if hasattr(builtins, name) or name in {"In", "Out", "get_ipython", "_", "__", "___"}:
        raise ArgumentError(
            f"{name!r} would hide what Python or IPython calls by that name.", hint=f"--name my_{name}"
        )


def _parse_age(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:].lower()
    if unit not in _HOURS or not number.isdigit():
        raise ArgumentError(
            f"{text[:40]!r} is not an age.", hint="Say hours, days or weeks: --older-than 12h, 30d, 8w."
        )
    return timedelta(hours=int(number) * _HOURS[unit])
