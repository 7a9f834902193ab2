"""Save results to a file: Parquet, CSV or JSON Lines. Saves are atomic."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sutro_magic.errors import ArgumentError, Hint, SutroError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa


PIECE_BYTES = 16 << 20
"""Size of the pieces in which rows are converted to text."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EMLINK,
    errno.EXDEV,
}


class Exportable(Protocol):
    """Interface of a table that can be exported, such as `sutro_magic.Results`."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema."""

    def prepare(self) -> None:
        """Do what is necessary before the first row can be read."""

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches."""


def check_target(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Return the path of a file to save to.

    Parameters
    ----------
    path : str or path-like
        Path that ends in ``.parquet``, ``.csv``, ``.jsonl`` or ``.ndjson``; ``~`` is the home folder.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ArgumentError
        If the file cannot be saved there.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ArgumentError(
            f"The path must be a string or a pathlib.Path, not of type {type(path).__name__}.",
            hint='Like this: save("films.csv").',
        )
    if not os.fspath(path).strip():
        raise ArgumentError(
            "The path of the file is empty.",
            hint="Name a file, like films.csv: .parquet, .csv, .jsonl or .ndjson.",
        )
    target = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises without a home folder
    shown = shorten(str(target), 200)
    if target.suffix.lower() not in _WRITERS:
        suffix = target.suffix if target.suffix[1:].isalpha() else ""  # "s.xlsx", but not "films 2.5"
        stem = shorten(target.name.removesuffix(suffix).rstrip(".") or "results")
        raise ArgumentError(
            f"{shown} has no suffix of a supported format.",
            hint=f"Use one of {', '.join(_WRITERS)}, like {stem}.parquet.",
        )
    if not os.path.isdir(target.parent):  # noqa: PTH112 - Path.is_dir raises if the name is too long
        folder = shorten(str(target.parent), 200)
        raise ArgumentError(
            f"The folder {folder} does not exist.",
            hint="Create the folder first, or choose another.",
        )
    if os.path.isdir(target):  # noqa: PTH112
        raise ArgumentError(
            f"{shown} is a folder.", hint=f"Name a file in it, like {target / 'results'}{target.suffix}."
        )
    try:
        is_link = stat.S_ISLNK(target.lstat().st_mode)
    except FileNotFoundError:
        return target
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{shown} cannot be the name of a file: {error}.", hint="Choose another."
        ) from None
    if not overwrite:
        raise _already_there(target)
    # Replace the target of a link, not the link.
    try:
        return target.resolve(strict=False) if is_link else target
    except (OSError, RuntimeError):  # RuntimeError: for link loops, up to Python 3.12
        raise ArgumentError(f"{shown} is a broken link.", hint="Choose another file.") from None


def check_writable(target: Path) -> None:
    """Raise `SutroError` if no file can be created, to fail before hours of work; a file is created and removed to find out.

    Parameters
    ----------
    target : pathlib.Path
        Path from `check_target`; it is left unchanged.
    """
    with _save_errors(target):
        made = _beside(target)
        try:
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        finally:
            with suppress(OSError):
                made.unlink()


def save(
    results: Exportable,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write results to a file; see `sutro_magic.Results.save`."""
    target = check_target(path, overwrite=overwrite)
    write = _WRITERS[Path(path).suffix.lower()]  # the suffix of the given path, not of a link's target

    def counted() -> Iterator[pa.RecordBatch]:
        done, total = 0, results.num_rows
        for batch in results.to_batches():
            yield batch
            done += batch.num_rows
            on_rows(done, total)

    results.prepare()
    schema = results.schema
    with _atomic(target, overwrite=overwrite) as made:
        write(made, schema, counted())
    return target


@contextmanager
def _atomic(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path of an empty file beside the target; it replaces the target on success."""
    made = _beside(target)
    with _save_errors(target):
        try:
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield made
            _sync(made)
            if overwrite:
                with suppress(FileNotFoundError):
                    shutil.copymode(target, made)
                os.replace(made, target)  # noqa: PTH105 - atomic
            else:
                _claim(made, target)
        finally:
            with suppress(OSError):
                made.unlink()
        _sync(target.parent)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")


@contextmanager
def _save_errors(target: Path) -> Iterator[None]:
    """Convert `OSError` to an error with a hint."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).rstrip(".")
        shown = shorten(str(target), 200)
        if error.errno in _NO_ROOM:
            raise SutroError(
                f"Not enough disk space for {shown}: {reason}.",
                hint="Free some disk space, or save elsewhere. No partial file was left.",
            ) from None
        raise SutroError(
            f"{shown} could not be saved: {reason}.",
            hint="Choose a writable folder. No partial file was left.",
        ) from None


def _claim(made: Path, target: Path) -> None:
    """Rename a file unless the name exists, atomically: another process may save to the same name."""
    try:
        try:
            os.link(made, target)  # unlike a rename, fails if the file exists
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(made, target)  # noqa: PTH105 - the name is reserved now
    except FileExistsError:
        raise _already_there(target) from None


def _sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    try:
        opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return  # folders cannot be opened on Windows
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno in _NO_ROOM or error.errno == errno.EIO:
            raise
    finally:
        os.close(opened)


def _already_there(target: Path) -> ArgumentError:
    return ArgumentError(
        f"{shorten(str(target), 200)} exists already.",
        hint=(Hint("option", overwrite=True), " replaces it."),
    )


# --- formats ----------------------------------------------------------------------------------


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    from sutro_magic.formats.writer import RowGroupWriter

    with RowGroupWriter(path) as writer:
        writer.open(schema)
        for batch in batches:
            writer.add(batch)


def _write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    import pyarrow as pa
    from pyarrow import csv

    cells = pa.schema([pa.field(field.name, _cell_type(field.type)) for field in schema])
    with path.open("wb") as file, csv.CSVWriter(file, cells) as writer:
        for batch in batches:
            for piece in _pieces(batch):
                columns = [_cells(*pair) for pair in zip(piece.columns, cells.types, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=cells))


def _write_json_lines(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    from sutro_magic.results.json_writer import json_objects

    for name in schema.names:
        if schema.names.count(name) > 1:
            raise ArgumentError(
                f"Two columns are called {shorten(name)!r}, but JSON objects need unique keys.",
                hint="Save as .parquet or .csv.",
            )
    with path.open("wb") as file:
        for batch in batches:
            for piece in _pieces(batch):
                lines = json_objects(piece.schema.names, piece.columns, piece.num_rows, end="\n")
                _, offsets, data = lines.buffers()
                ends = memoryview(offsets).cast("q")
                first = lines.offset
                file.write(memoryview(data)[ends[first] : ends[first + len(lines)]])


_WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
}


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, batch.num_rows * PIECE_BYTES // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _cell_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column for Arrow's CSV writer: number, boolean or string."""
    import pyarrow as pa

    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    return pa.large_string()


def _cells(array: pa.Array, cell: pa.DataType) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    from sutro_magic.results.json_writer import json_strings, plain_strings

    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind, kinds = array.type, pa.types
    if kinds.is_nested(kind) or isinstance(array, pa.ExtensionArray):
        return pc.if_else(array.is_valid(), json_strings(array), pa.scalar(None, cell))
    if cell != pa.large_string():
        return array.cast(cell)
    return plain_strings(array)
