"""The one DuckDB database behind all tables: in memory, within limits, with no reach beyond the process."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import sys
import tempfile
import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sutro_magic import limits
from sutro_magic.errors import (
    ConfigurationError,
    Hint,
    QueryError,
    ResourceError,
    SupersededError,
    shorten,
)
from sutro_magic.system import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb
    import pyarrow as pa

WAIT_SECONDS = 0.02
"""How often somebody who waits for a cancelled query looks whether it has ended."""
TICK_SECONDS = 0.1
"""How often somebody who waits for all queries of some work looks whether it has ended."""

T = TypeVar("T")

BATCH_ROWS = 65_536


class _Database:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.threads = 0
        self.memory_limit = ""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        with self._lock:
            if self._connection is None:
                spill = Path(tempfile.gettempdir()) / f"sutro-magic-{os.getpid()}-{secrets.token_hex(4)}"
                # DuckDB makes the folder when it needs it, and deletes it at the end.
                self._connection = duckdb.connect(
                    ":memory:",
                    config={
                        "temp_directory": str(spill),
                        "autoinstall_known_extensions": False,
                        "python_enable_replacements": False,
                        **self._limits(),
                    },
                )
                # Not among the above, since it would forbid to set the folder.
                self._connection.execute("set enable_external_access = false")
                atexit.register(self.close)
            return self._connection.cursor()

    def configure(self, threads: int, memory_limit: str) -> None:
        before = self.threads, self.memory_limit
        self.threads, self.memory_limit = threads, memory_limit
        if self._connection is None:
            return  # what is configured before the first table costs no import of DuckDB
        import duckdb

        cursor = self.cursor()
        try:
            self._apply(cursor)
        except duckdb.Error:
            self.threads, self.memory_limit = before
            self._apply(cursor)
            raise ConfigurationError(
                f"threads {threads} and memory_limit {shorten(memory_limit, 40)!r} cannot be.",
                hint=Hint("setting", name="memory_limit", value="2GB"),
            ) from None

    def _apply(self, cursor: duckdb.DuckDBPyConnection) -> None:
        for name, value in self._limits().items():
            cursor.execute(f"set {name} = '{value.replace(chr(39), '')}'")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def forget(self) -> None:
        with self._lock:
            # Not closed: that would close the cursors of tables that are still there.
            self._connection = None
            self.threads, self.memory_limit = 0, ""
        atexit.unregister(self.close)

    def _limits(self) -> dict[str, str]:
        return {
            "threads": str(self.threads or default_threads()),
            "memory_limit": self.memory_limit or f"{default_memory() // 2**20}MiB",
        }


_database = _Database()


def configure(threads: int = 0, memory_limit: str = "") -> None:
    """Set the limits of DuckDB, and Arrow's threads; 0 and an empty text stand for what the container or the machine has.

    Parameters
    ----------
    threads : int
    memory_limit : str
        As DuckDB writes it: ``2GB``, ``500MiB``.

    Raises
    ------
    ConfigurationError
        For a limit that is none; the earlier ones stay.
    """
    _database.configure(threads, memory_limit)
    if "pyarrow" in sys.modules:  # else it is told when it is needed: a setting costs nothing
        limit_arrow()


def default_threads() -> int:
    """Return the cores that are ours."""
    return resources.cores()


def default_memory() -> int:
    """Return DuckDB's share of the memory that is ours, in bytes."""
    most = limits.DUCKDB_MAX_MEMORY_BYTES * limits.DUCKDB_MEMORY_SHARE
    return max(
        limits.DUCKDB_MIN_MEMORY_BYTES, min(most, resources.memory() or most) // limits.DUCKDB_MEMORY_SHARE
    )


def limit_arrow() -> None:
    """Let Arrow use no more cores than are ours, or than `configure` said: by itself it knows no container's quota.

    Where all that it counts are ours, it is left as it is.
    """
    import pyarrow as pa

    if not _arrow:
        _arrow.extend((pa.cpu_count(), pa.io_thread_count()))
    counted, waiting = _arrow
    cores = _database.threads or min(counted, default_threads())
    if pa.cpu_count() != cores:
        pa.set_cpu_count(cores)
    waiting = waiting if cores >= counted else max(2, min(waiting, 2 * cores))
    if pa.io_thread_count() != waiting:
        pa.set_io_thread_count(waiting)


_arrow: list[int] = []
"""Arrow's threads for work and for waiting, as they were found."""


def forget() -> None:
    """Let go of the database and the limits, Arrow's too: it ends with the last table that still uses it."""
    _database.forget()
    if _arrow:
        import pyarrow as pa

        pa.set_cpu_count(_arrow[0])
        pa.set_io_thread_count(_arrow[1])
        _arrow.clear()


def interruptibly(queue: QueryQueue, work: Callable[[], T], on_tick: Callable[[], None] = lambda: None) -> T:
    """Do work that uses a query queue, such that Ctrl-C ends it at once: a query that runs here would hear of none.

    Parameters
    ----------
    queue : QueryQueue
    work : callable
        Done in a thread of its own.
    on_tick : callable
        Called in this thread, several times a second, for as long as the work goes on.
    """
    found: Future[T] = Future()
    stop = threading.Event()

    def run() -> None:
        try:
            if not stop.is_set():
                found.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits
            found.set_exception(error)

    # A thread of our own: a pool that is interrupted while it starts one may forget it.
    thread = threading.Thread(target=run, name="sutro-queries", daemon=True)
    try:
        thread.start()
        while not wait([found], TICK_SECONDS).done:
            on_tick()
    except BaseException:
        stop.set()
        while thread.is_alive():
            queue.cancel()  # again and again: it may have been between two queries
            thread.join(TICK_SECONDS)
        raise
    thread.join()
    return found.result()


class QueryQueue:
    """Queries that run one after the other, in which a newer query can cancel an older one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self._current: int | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None

    def ticket(self) -> int:
        """Announce a query that makes all earlier ones with a ticket pointless."""
        self._newest += 1
        return self._newest

    @contextmanager
    def turn(self, ticket: int | None = None) -> Iterator[None]:
        """Wait for our turn; with a ticket, cancel what runs.

        Raises
        ------
        SupersededError
            When somebody has taken a newer ticket.
        """
        while not self._lock.acquire(timeout=WAIT_SECONDS):
            self._raise_if_stale(ticket)
            if ticket is not None and self._current is not None and self._cursor is not None:
                # Again and again, since the query may not have begun a moment ago.
                self._cursor.interrupt()
        try:
            self._current = ticket
            self._raise_if_stale(ticket)
            yield
        finally:
            self._current = None
            self._lock.release()

    def query(
        self, sql: str, tables: Mapping[str, pa.Table], parameters: list[Any] | None = None
    ) -> dict[str, Any]:
        """Run one query over Arrow tables, in our turn.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns; those with nulls are masked.
        """
        found: dict[str, Any] = self._run(
            tables, lambda cursor: cursor.execute(sql, parameters or []).fetchnumpy()
        )
        return found

    def rows(
        self, sql: str, tables: Mapping[str, pa.Table], parameters: list[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one query over Arrow tables, in our turn, whose few rows become Python values."""
        found: list[tuple[Any, ...]] = self._run(
            tables, lambda cursor: cursor.execute(sql, parameters or []).fetchall()
        )
        return found

    def read(
        self,
        sql: str,
        tables: Mapping[str, pa.Table],
        parameters: Mapping[str, Any],
        take: Callable[[pa.RecordBatchReader], T],
    ) -> T:
        """Run somebody's query over Arrow tables, in our turn; it can change nothing.

        Parameters
        ----------
        sql : str
        tables : mapping of str to pyarrow.Table
        parameters : mapping of str to object
            Values of ``$name``.
        take : callable
            Takes the rows while they are made, so that they need not fit into memory.
        """

        def work(cursor: duckdb.DuckDBPyConnection) -> T:
            cursor.execute("begin transaction read only")
            try:
                return take(_stream(cursor, sql, dict(parameters)))
            finally:
                cursor.execute("rollback")

        return self._run(tables, work)

    def cancel(self) -> None:
        """Cancel what runs, and all queries that have a ticket."""
        self.ticket()
        if self._lock.locked() and self._cursor is not None:
            self._cursor.interrupt()

    def _run(self, tables: Mapping[str, pa.Table], work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        import duckdb

        if self._cursor is None:
            self._cursor = _database.cursor()
        cursor = self._cursor
        self._raise_if_stale(self._current)
        try:
            try:
                for name, table in tables.items():
                    cursor.register(name, table)
                return work(cursor)
            finally:
                for name in tables:
                    cursor.unregister(name)
        except duckdb.InterruptException:
            raise SupersededError("A newer query has cancelled this one.") from None
        except duckdb.OutOfMemoryException:
            raise ResourceError(
                "There is not enough memory for that, and no room on the disk to do without.",
                hint=(Hint("setting", name="memory_limit", value="2GB"), " grants more; or free some disk."),
            ) from None

    def _raise_if_stale(self, ticket: int | None) -> None:
        if ticket is not None and ticket != self._newest:
            raise SupersededError("A newer query has cancelled this one.")


_NO_TYPES = re.compile(
    r"(?:^|[ (])(UHUGEINT|BIT|BIGNUM|VARINT|VARIANT|UNION|TIME WITH TIME ZONE)(?=$|[\[\](),])", re.ASCII
)
"""Types of DuckDB that would arrive as bytes, with another value, or without their zone; or that nobody else has."""


def _refuse_types(columns: list[str], kinds: list[Any]) -> None:
    for column, kind in zip(columns, map(str, kinds), strict=True):
        if _NO_TYPES.search(re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", kind)):
            raise QueryError(
                f"The column {shorten(column, 60)} is of type {shorten(kind, 60)}, which only DuckDB has.",
                hint="Make a text or a number of it: select …::varchar, or …::double.",
            )


def _stream(cursor: Any, sql: str, parameters: dict[str, Any]) -> pa.RecordBatchReader:
    """Begin a query whose rows are made as they are read."""
    if hasattr(cursor, "fetch_record_batch"):  # before DuckDB 2, where a relation would make all rows at once
        found = cursor.execute(sql, parameters)
        _refuse_types(*map(list, zip(*((name, kind) for name, kind, *_ in found.description), strict=True)))
        return found.fetch_record_batch(BATCH_ROWS)
    found = cursor.sql(sql, params=parameters)
    _refuse_types(found.columns, found.types)
    return found.to_arrow_reader(BATCH_ROWS)
