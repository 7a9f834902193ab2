"""The shared DuckDB database: in memory, with limited resources, without access to files or the network."""

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
"""Interval at which a waiting query interrupts the running one."""
TICK_SECONDS = 0.1
"""Interval at which `interruptibly` checks for the end of its work."""

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
                # DuckDB creates the folder on demand and deletes it at the end.
                self._connection = duckdb.connect(
                    ":memory:",
                    config={
                        "temp_directory": str(spill),
                        "autoinstall_known_extensions": False,
                        "python_enable_replacements": False,
                        **self._limits(),
                    },
                )
                # After connecting, because the option would forbid setting the temporary folder.
                self._connection.execute("set enable_external_access = false")
                atexit.register(self.close)
            return self._connection.cursor()

    def configure(self, threads: int, memory_limit: str) -> None:
        before = self.threads, self.memory_limit
        self.threads, self.memory_limit = threads, memory_limit
        if self._connection is None:
            return  # configuring before the first query does not import DuckDB
        import duckdb

        cursor = self.cursor()
        try:
            self._apply(cursor)
        except duckdb.Error:
            self.threads, self.memory_limit = before
            self._apply(cursor)
            raise ConfigurationError(
                f"threads {threads} and memory_limit {shorten(memory_limit, 40)!r} are not valid limits.",
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
            # Not closed, because that would close the cursors of tables that still exist.
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
    """Set the limits of DuckDB and of Arrow's threads; 0 and an empty string mean the available resources.

    Parameters
    ----------
    threads : int
    memory_limit : str
        In DuckDB's notation: ``2GB``, ``500MiB``.

    Raises
    ------
    ConfigurationError
        If a limit is invalid; the previous ones stay in effect.
    """
    _database.configure(threads, memory_limit)
    if "pyarrow" in sys.modules:  # otherwise limited when pyarrow is imported
        limit_arrow()


def default_threads() -> int:
    """Return the number of available cores."""
    return resources.cores()


def default_memory() -> int:
    """Return DuckDB's share of the available memory, in bytes."""
    max_memory = limits.DUCKDB_MAX_MEMORY_BYTES * limits.DUCKDB_MEMORY_SHARE
    return max(
        limits.DUCKDB_MIN_MEMORY_BYTES,
        min(max_memory, resources.memory() or max_memory) // limits.DUCKDB_MEMORY_SHARE,
    )


def limit_arrow() -> None:
    """Limit Arrow's threads to the available cores or the configured number; Arrow ignores a container's CPU quota.

    Do nothing if all cores that Arrow detects are available.
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
"""Arrow's original numbers of CPU and I/O threads."""


def forget() -> None:
    """Drop the database and the limits, also Arrow's; the database ends with the last table that uses it."""
    _database.forget()
    if _arrow:
        import pyarrow as pa

        pa.set_cpu_count(_arrow[0])
        pa.set_io_thread_count(_arrow[1])
        _arrow.clear()


def interruptibly(queue: QueryQueue, work: Callable[[], T], on_tick: Callable[[], None] = lambda: None) -> T:
    """Run a function that uses a query queue such that Ctrl-C stops it: a query in the main thread would block the signal.

    Parameters
    ----------
    queue : QueryQueue
    work : callable
        Runs in a thread of its own.
    on_tick : callable
        Called in this thread several times per second while the function runs.
    """
    found: Future[T] = Future()
    stop = threading.Event()

    def run() -> None:
        try:
            if not stop.is_set():
                found.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            found.set_exception(error)

    # Not from a pool: a pool that is interrupted while it starts a thread may lose it.
    thread = threading.Thread(target=run, name="sutro-queries", daemon=True)
    try:
        thread.start()
        while not wait([found], TICK_SECONDS).done:
            on_tick()
    except BaseException:
        stop.set()
        while thread.is_alive():
            queue.cancel()  # repeatedly: it may be between two queries
            thread.join(TICK_SECONDS)
        raise
    thread.join()
    return found.result()


class QueryQueue:
    """Serializes queries; a newer query can cancel older ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = 0
        self._current: int | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None

    def ticket(self) -> int:
        """Return a ticket for a query that makes all queries with earlier tickets obsolete."""
        self._newest += 1
        return self._newest

    @contextmanager
    def turn(self, ticket: int | None = None) -> Iterator[None]:
        """Wait until no other query runs; with a ticket, cancel the running one.

        Raises
        ------
        SupersededError
            If a newer ticket was taken.
        """
        while not self._lock.acquire(timeout=WAIT_SECONDS):
            self._raise_if_stale(ticket)
            if ticket is not None and self._current is not None and self._cursor is not None:
                # Repeatedly, because the query may not have started yet.
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
        """Run one query over Arrow tables; call within `turn`.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns; those with nulls are masked arrays.
        """
        found: dict[str, Any] = self._run(
            tables, lambda cursor: cursor.execute(sql, parameters or []).fetchnumpy()
        )
        return found

    def rows(
        self, sql: str, tables: Mapping[str, pa.Table], parameters: list[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one query over Arrow tables and return its few rows as Python values; call within `turn`."""
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
        """Run a user's query over Arrow tables in a read-only transaction; call within `turn`.

        Parameters
        ----------
        sql : str
        tables : mapping of str to pyarrow.Table
        parameters : mapping of str to object
            Values of ``$name`` parameters.
        take : callable
            Called with a reader of the rows, so that they need not fit into memory.
        """

        def work(cursor: duckdb.DuckDBPyConnection) -> T:
            cursor.execute("begin transaction read only")
            try:
                return take(_stream(cursor, sql, dict(parameters)))
            finally:
                cursor.execute("rollback")

        return self._run(tables, work)

    def cancel(self) -> None:
        """Cancel the running query and all queries with a ticket."""
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
                "Out of memory, and no disk space left to spill to.",
                hint=(
                    Hint("setting", name="memory_limit", value="2GB"),
                    " raises the limit; or free some disk space.",
                ),
            ) from None

    def _raise_if_stale(self, ticket: int | None) -> None:
        if ticket is not None and ticket != self._newest:
            raise SupersededError("A newer query has cancelled this one.")


_NO_TYPES = re.compile(
    r"(?:^|[ (])(UHUGEINT|BIT|BIGNUM|VARINT|VARIANT|UNION|TIME WITH TIME ZONE)(?=$|[\[\](),])", re.ASCII
)
"""Types of DuckDB that Arrow would return as bytes, with another value or without their time zone, or that others do not support."""


def _refuse_types(columns: list[str], kinds: list[Any]) -> None:
    for column, kind in zip(columns, map(str, kinds), strict=True):
        if _NO_TYPES.search(re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", kind)):
            raise QueryError(
                f"The column {shorten(column, 60)} is of type {shorten(kind, 60)}, which only DuckDB has.",
                hint="Convert it to text or a number: select …::varchar, or …::double.",
            )


def _stream(cursor: Any, sql: str, parameters: dict[str, Any]) -> pa.RecordBatchReader:
    """Start a query whose rows are computed as they are read."""
    if hasattr(
        cursor, "fetch_record_batch"
    ):  # before DuckDB 2, where a relation would compute all rows at once
        found = cursor.execute(sql, parameters)
        _refuse_types(*map(list, zip(*((name, kind) for name, kind, *_ in found.description), strict=True)))
        return found.fetch_record_batch(BATCH_ROWS)
    found = cursor.sql(sql, params=parameters)
    _refuse_types(found.columns, found.types)
    return found.to_arrow_reader(BATCH_ROWS)
