"""Write Parquet files with row groups of about 100,000 rows from batches of any size."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from sutro_magic.system.disk import check_room

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ROW_GROUP_ROWS = 100_000
ROW_GROUP_BYTES = 128 << 20
"""Rows are buffered until a row group is full, so long strings make groups of fewer rows."""


class RowGroupWriter:
    """Writes batches as row groups of a suitable size.

    Parameters
    ----------
    path : pathlib.Path
        Created with mode 0600 if it does not exist.
    keep_room : bool
        Raise `OSError` if the disk is nearly full, for output of unknown size.
    group_bytes : int, optional
        Size at which a row group ends, however few its rows are; `ROW_GROUP_BYTES` by default.
    statistics : bool
        Write minimum and maximum of each column; for very long strings, that takes time and memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_room: bool = False,
        group_bytes: int | None = None,
        statistics: bool = True,
    ) -> None:
        self._path = path
        self._statistics = statistics
        self._group_bytes = group_bytes or ROW_GROUP_BYTES
        self._keep_room = keep_room
        self._writer: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()

    def open(self, schema: pa.Schema) -> None:
        """Create the file."""
        # Created in advance, so that other users cannot read it even for a moment.
        os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        self._writer = pq.ParquetWriter(
            self._path, schema, compression="zstd", write_statistics=self._statistics
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows; they are written when a row group is full."""
        self.num_rows += batch.num_rows
        while self._waiting_rows + batch.num_rows >= ROW_GROUP_ROWS:
            room = ROW_GROUP_ROWS - self._waiting_rows
            self._wait(batch.slice(0, room))
            self._flush()
            batch = batch.slice(room)
        self._wait(batch)
        if self._waiting_bytes >= self._group_bytes:
            self._flush()

    def _wait(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._waiting.append(batch)
            self._waiting_rows += batch.num_rows
            self._waiting_bytes += batch.nbytes

    def _flush(self) -> None:
        if self._waiting:
            if self._keep_room:
                check_room(self._path.parent)
            self._writer.write_table(pa.Table.from_batches(self._waiting), ROW_GROUP_ROWS)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
