"""The magics: each parses its line, calls the session, shows and binds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from traitlets import observe

from sutro_magic.errors import ArgumentError, ConfigurationError, SutroError
from sutro_magic.magics import flags
from sutro_magic.magics.parser import HelpRequested, MagicParser, documented
from sutro_magic.magics.progress_scope import working
from sutro_magic.magics.quoting import as_typed
from sutro_magic.magics.settings import Settings, say
from sutro_magic.ui.display import Display
from sutro_magic.ui.variables import check_variable

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from sutro_magic.api.credentials import Credentials
    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.jobs.history import KnownJobs
    from sutro_magic.magics.demo_commands import RunningDemo
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session
    from sutro_magic.ui.browser.job_browser import JobBrowser
    from sutro_magic.ui.render.progress import ProgressLine

MAGIC_NAMES = tuple(flags.PARSERS)


@magics_class
class SutroMagics(Magics, Settings):
    """Magics that bring the results of Sutro jobs into the notebook."""

    def __init__(self, shell: Any) -> None:
        # First, since a setting that is configured already is observed by the next line.
        self._session: Session | None = None
        self._demo: RunningDemo | None = None
        self._browsers: list[JobBrowser] = []
        super().__init__(shell)
        self.shell: Any = shell
        self.display = Display(shell, lambda: self.page_length, lambda: self.as_type, self._cached)

    @property
    def session(self) -> Session:
        """The session behind the magics, made at first use."""
        if self._session is None:
            from sutro_magic.session import Session

            self._session = Session(cache_dir=self.cache_dir or None)
            self._session.cache.limit = self.cache_limit or None
        return self._session

    @property
    def fixed_credentials(self) -> Credentials | None:
        """The credentials that a magic has set for this kernel, if any."""
        return self._session.fixed_credentials if self._session is not None else None

    def _cached(self, job_id: str) -> list[CacheEntry]:
        from sutro_magic.magics import cache_commands

        return cache_commands.cached(self.session, job_id)

    def known(self) -> KnownJobs:
        """Return the jobs that completion offers, without making a session, which would take a second."""
        from sutro_magic.api.credentials import resolve
        from sutro_magic.cache.layout import cache_folder
        from sutro_magic.jobs.history import JobHistory, KnownJobs

        session = self._session
        if session is None:
            return KnownJobs(resolve().identity, cache_folder(self.cache_dir), JobHistory())
        return KnownJobs(session.credentials.identity, session.cache.directory, session.history)

    def close(self) -> None:
        """Close job browsers, stop the demo service, close connections."""
        for browser in self._browsers:
            browser.close()
        self._browsers.clear()
        demo, self._demo = self._demo, None
        if demo is not None:
            demo.stop(self.session)
        if self._session is not None:
            self._session.close()

    @observe("debug")
    def _debug_changed(self, change: dict[str, Any]) -> None:
        SutroError.debug = change["new"]

    @observe("threads", "memory_limit")
    def _limits_changed(self, change: dict[str, Any]) -> None:
        from sutro_magic.query import duckdb_engine

        try:
            duckdb_engine.configure(self.threads, self.memory_limit)
        except ConfigurationError as error:
            # %config only logs what is raised here.
            say(f"{error.message} The setting stays as it was. {error.shown_hint}")
            self.set_trait(change["name"], change["old"])

    @observe("cache_dir")
    def _cache_dir_changed(self, change: dict[str, Any]) -> None:
        if self._session is not None:
            from sutro_magic.cache.store import ResultsCache

            self._session.cache = ResultsCache(change["new"] or None, self.cache_limit or None)

    @observe("cache_limit")
    def _cache_limit_changed(self, change: dict[str, Any]) -> None:
        if self._session is not None:
            self._session.cache.limit = change["new"] or None

    # --- results ------------------------------------------------------------------------------

    @documented(flags.results_parser)
    @line_magic
    def sutro_results(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.results_parser(), line)
        if options is None:
            return None
        as_type: Any = options.as_type or (self.as_type if options.name else "results")
        wire: Any = options.format or self.format

        from sutro_magic.system.optional_packages import require

        require(as_type)
        from sutro_magic.magics import result_flags

        beside = result_flags.check(options, as_type, self.shell.user_ns)
        interrupted = (
            f"nothing was bound{' or saved' if options.save else ''}, and what is complete stays in the cache. "
            f"{'The job itself goes on. ' if options.wait else ''}Run the cell again."
        )
        as_type = as_type if beside is None else beside.as_type
        if options.peek is not None:
            return self._peek(options, as_type)
        with self._progress(interrupted, silent=options.quiet) as progress:
            results = self.session.results(
                options.job,
                format=wire,
                inputs=self.inputs if options.inputs is None else options.inputs,
                logprobs=self.logprobs if options.logprobs is None else options.logprobs,
                unfold=options.unfold,
                refresh=options.refresh,
                wait=options.wait,
                on_bytes=progress.on_bytes,
                on_poll=progress.on_poll,
                on_progress=progress.on_progress,
                on_notice=print,
                on_kept=progress.on_kept,
            )
            if as_type != "path" or options.name is not None:
                results.prepare(progress.on_rows)
            value = results.to(as_type) if beside is None else beside.join(results)
            saved = (
                options.save
                and results.save(  # last, so that an interrupt leaves neither file nor variable
                    options.save, overwrite=options.overwrite, on_rows=progress.on_saved
                )
            )
        if beside is not None and not options.quiet:
            if beside.missing:
                print(f"{beside.name} is joined {beside.how}.")  # noqa: T201 - to be known before it is used
            results = beside.shown(value, results) if options.name else results
        if saved and not options.quiet:
            print(self.display.saved(results, saved))  # noqa: T201 - the answer
        return self._hand_over(results, value, options, as_type)

    def _peek(self, options: argparse.Namespace, as_type: Any) -> Any:
        """Show or bind the first rows, without the rest."""
        with self._progress("nothing was bound. Run the cell again.", silent=options.quiet):
            results = self.session.peek(
                options.job,
                options.peek,
                inputs=self.inputs if options.inputs is None else options.inputs,
                logprobs=self.logprobs if options.logprobs is None else options.logprobs,
                unfold=options.unfold,
                refresh=options.refresh,
            )
            results.prepare()
            value = results.to(as_type)
        return self._hand_over(results, value, options, as_type)

    def _hand_over(self, results: Results, value: Any, options: argparse.Namespace, as_type: Any) -> Any:
        """Bind and show, or return."""
        if options.name is None:
            if options.quiet and as_type == "results":
                from sutro_magic.ui.display import quiet

                quiet.add(results)
            return value
        if not options.quiet:  # before it is bound, so that nothing is when it cannot be shown
            from sutro_magic.ui.render.bound import bound_as

            self.display.show(self.display.results(results, bound_as(options.name, as_type, results)))
        self.shell.user_ns[options.name] = value
        return None

    @documented(flags.sql_parser)
    @cell_magic
    def sutro_sql(self, line: str, cell: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.sql_parser(), line)
        if options is None:
            return None
        as_type: Any = options.as_type or (self.as_type if options.name else "results")
        if as_type == "path":  # by %config
            raise ArgumentError("The answer to a query has no path.", hint="--as pandas, or another type")

        from sutro_magic.sql import statement
        from sutro_magic.system.optional_packages import require

        require(as_type)
        with self._progress("the query has ended, and nothing was bound. Run the cell again.") as progress:
            results = statement.run(
                cell,
                self.session,
                self.shell.user_ns,
                evaluate=self.shell.ev,
                fetch=lambda request: self._fetch(
                    request.job_id,
                    progress,
                    inputs=request.inputs or self.inputs,
                    logprobs=request.logprobs or self.logprobs,
                    wire=request.format,
                ),
                on_query=progress.on_query,
            )
            value = results.to(as_type)
        return self._hand_over(results, value, options, as_type)

    @documented(flags.profile_parser)
    @line_magic
    def sutro_profile(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.profile_parser(), line)
        if options is None:
            return None
        from sutro_magic.analysis.profiling import profile
        from sutro_magic.magics import result_flags

        interrupted = "what is complete stays in the cache. Run the cell again to profile the job."
        with result_flags.asked_by_default(), self._progress(interrupted) as progress:
            results = self._fetch(options.job, progress, inputs=options.inputs, logprobs=options.logprobs)
            return profile(results, progress.on_columns)

    @documented(flags.compare_parser)
    @line_magic
    def sutro_compare(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.compare_parser(), line)
        if options is None:
            return None
        as_type: Any = options.as_type or (self.as_type if options.name else "results")
        if as_type == "path":
            as_type = "pandas"  # of the settings: there is no file of aligned rows

        from sutro_magic.analysis.comparison import check_number, compare
        from sutro_magic.magics import result_flags
        from sutro_magic.system.optional_packages import require

        check_number(options.jobs)
        require(as_type)
        interrupted = "nothing was bound, and what is complete stays in the cache. Run the cell again."
        with result_flags.asked_by_default(), self._progress(interrupted) as progress:
            fetched = [
                self._fetch(job, progress, inputs=options.inputs, logprobs=False) for job in options.jobs
            ]
            comparison = compare(fetched, progress.on_columns)
            value = comparison.rows.to(as_type)
        if options.name is None:
            return value if options.as_type else comparison
        from sutro_magic.ui.render.bound import Bound

        self.display.show(self.display.comparison(comparison, Bound(options.name, as_type)))
        self.shell.user_ns[options.name] = value
        return None

    def _fetch(
        self, job: str, progress: ProgressLine, *, inputs: bool, logprobs: bool, wire: Any = None
    ) -> Results:
        """Fetch the whole results of a job, with their outputs unfolded."""
        results = self.session.results(
            job,
            format=wire or self.format,
            inputs=inputs,
            logprobs=logprobs,
            on_bytes=progress.on_bytes,
            on_notice=print,
            on_kept=progress.on_kept,
        )
        results.prepare(progress.on_rows)
        return results

    # --- jobs ---------------------------------------------------------------------------------

    @documented(flags.jobs_parser)
    @line_magic
    def sutro_jobs(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.jobs_parser(), line)
        if options is None:
            return None
        with self._progress("run the cell again to list the jobs."):
            jobs = self.session.jobs(limit=options.limit, status=options.status, search=options.search)
        if options.name is None:
            return jobs
        from sutro_magic.ui.render.bound import Bound

        frame = jobs.to_pandas()
        self.display.show(self.display.jobs(jobs, str(Bound(options.name, "pandas"))))
        self.shell.user_ns[options.name] = frame
        return None

    @documented(flags.status_parser)
    @line_magic
    def sutro_status(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.status_parser(), line)
        if options is None:
            return None
        with self._progress("run the cell again to see the job."):
            return self.session.job(options.job)

    @documented(flags.wait_parser)
    @line_magic
    def sutro_wait(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        options = self._parse(flags.wait_parser(), line)
        if options is None:
            return None
        job = options.job
        word = as_typed(job)
        interrupted = (
            f"the job continues. %sutro_wait {word} waits again, %sutro_status {word} shows its status."
        )
        with self._progress(interrupted) as progress:
            return self.session.wait(
                job, options.timeout, on_poll=progress.on_poll, on_progress=progress.on_progress
            )

    # --- the job browser ----------------------------------------------------------------------

    @documented(flags.browse_parser)
    @line_magic
    def sutro_browse(self, line: str) -> Any:  # noqa: D102 - documented by its parser
        if self._parse(flags.browse_parser(), line) is None:
            return None
        if not self.display.notebook:
            raise ArgumentError(
                "The job browser needs a notebook: there are no widgets in a terminal.",
                hint="%sutro_jobs lists the jobs, %sutro_results JOB_ID fetches one.",
            )
        from sutro_magic.ui.browser.job_browser import JobBrowser

        for old in [browser for browser in self._browsers if browser.is_abandoned]:
            self._browsers.remove(old)
            old.close()
        browser = JobBrowser(
            self.session,
            format=self.format,
            inputs=self.inputs,
            logprobs=self.logprobs,
            as_type=self.as_type,
            page_length=self.page_length,
        )
        self._browsers.append(browser)
        return browser

    # --- cache --------------------------------------------------------------------------------

    @documented(flags.cache_parser)
    @line_magic
    def sutro_cache(self, line: str) -> None:  # noqa: D102 - documented by its parser
        options = self._parse(flags.cache_parser(), line)
        if options is None:
            return
        from sutro_magic.magics import cache_commands

        with self._progress("what was found damaged so far is deleted; run the cell again.") as progress:
            cache_commands.run(options, self.session, self.display, progress.on_verified)

    # --- credentials --------------------------------------------------------------------------

    @documented(flags.login_parser)
    @line_magic
    def sutro_login(self, line: str) -> None:  # noqa: D102 - documented by its parser
        try:
            options = self._parse(flags.login_parser(), line)
        except ArgumentError:
            # Said without repeating the line, because a key may stand there.
            raise ArgumentError(
                "%sutro_login takes --url URL and --save, and no key on the line: the notebook would keep it.",
                hint="If a key stood there, delete it and make a new one. %sutro_login alone asks for the key.",
            ) from None
        if options is None:
            return
        from sutro_magic.magics.login import log_in

        log_in(self.session, options.url, save=options.save)

    # --- demo ---------------------------------------------------------------------------------

    @documented(flags.demo_parser)
    @line_magic
    def sutro_demo(self, line: str) -> None:  # noqa: D102 - documented by its parser
        options = self._parse(flags.demo_parser(), line)
        if options is None:
            return
        from sutro_magic.magics import demo_commands

        self._demo = demo_commands.run(options, self._demo, self.session, self.display)

    # --- help ---------------------------------------------------------------------------------

    @documented(flags.help_parser)
    @line_magic
    def sutro_help(self, line: str) -> None:  # noqa: D102 - documented by its parser
        options = self._parse(flags.help_parser(), line)
        if options is None:
            return
        from sutro_magic.magics.help import show_help

        show_help(options.topic, self.display)

    # --- inside -------------------------------------------------------------------------------

    def _progress(self, interrupted: str, *, silent: bool = False) -> AbstractContextManager[ProgressLine]:
        return working(self.session, interrupted, notebook=self.display.notebook, silent=silent)

    def _parse(self, parser: MagicParser, line: str) -> argparse.Namespace | None:
        """Parse a line; reject an invalid variable name before anything is done."""
        try:
            options = parser.parse_line(line, self.shell.user_ns)
        except HelpRequested as help_text:
            print(help_text)  # noqa: T201 - what was asked for
            return None
        name = getattr(options, "name", None)
        if name is not None:
            options.name = check_variable(name)
        return options
