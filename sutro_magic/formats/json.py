"""Read the columns of a JSON body element by element, so that only Arrow data stay in memory.

The body is an object of arrays, alone or as ``{"results": {...}}``. Python's decoder reads every element, so
strings, big integers, ``NaN`` and escapes are what ``json.loads`` returns.
"""

from __future__ import annotations

import codecs
import json
import re
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from sutro_magic import limits
from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError
from sutro_magic.formats.reader import json_text
from sutro_magic.system import resources

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

CHUNK_BYTES = 2 << 20
MEMORY_FACTOR = 4
"""Memory needed per byte of the body, mostly for the finished columns, in addition to `MEMORY_FIXED`."""
MEMORY_FIXED = 300 << 20

_SPACE = re.compile(r"[ \t\n\r]*")
_DELIMITER = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_MAX_TOKEN_LENGTH = 16  # longest literal or escape: an error farther from the end is not due to truncation
_EXACT_FLOAT = 2**53
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_DECODER = json.JSONDecoder()
_SPACED = {",": ", ", ":": ": "}


def read_columns(
    path: Path, *, outputs: Collection[str], optional: Collection[str]
) -> dict[str, pa.ChunkedArray]:
    """Read the arrays of a JSON body.

    Arrays of strings become string columns, of integers int64, of numbers float64, of booleans bool. Arrays of
    lists of numbers, strings or booleans become list columns. In any other mixture, with objects, or with integers
    beyond 64 bits, strings stay as they are and everything else becomes JSON text.

    Parameters
    ----------
    path : pathlib.Path
        The body.
    outputs : collection of str
        Names of columns that must be arrays if present.
    optional : collection of str
        Names of columns that may also be null, which means that they are missing.

    Returns
    -------
    dict of str to pyarrow.ChunkedArray
        Columns of equal length by name, in the order of the body.

    Raises
    ------
    CorruptResultsError
        If the body is truncated, not JSON, or not an object of arrays of equal length.
    ResultsTooLargeError
        If the body or a value in it is too large.
    """
    size = path.stat().st_size
    memory = resources.memory()
    room = limits.JSON_BYTES if memory is None else max(0, memory - MEMORY_FIXED) // MEMORY_FACTOR
    limit = min(limits.JSON_BYTES, room)
    if size > limit:
        raise ResultsTooLargeError(
            f"The JSON body has {size:,} bytes; JSON is for small results, and the limit here is {limit:,} bytes."
        )
    reader = _Reader(outputs, optional)
    try:
        with path.open("rb") as stream:
            reader.read(_Source(stream))
    except RecursionError:
        raise CorruptResultsError("The JSON is nested too deeply.") from None
    columns = {name: column.finish() for name, column in reader.columns.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise CorruptResultsError(
            f"The columns of the JSON differ in length: {_shown(shortest)} has {lengths[shortest]:,} values, "
            f"{_shown(longest)} has {lengths[longest]:,}."
        )
    return columns


class _Source:
    """Text of a stream; only the part that is not yet decoded is kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.ended = False
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Read more; double the buffer, so that the time for a very long value stays proportional to its length."""
        if self.ended:
            return False
        rest = self.text[self.at :]
        if len(rest) > limits.JSON_VALUE_CHARACTERS:
            raise ResultsTooLargeError(
                f"A value of the JSON has more than {limits.JSON_VALUE_CHARACTERS:,} characters."
            )
        data = self._stream.read(max(CHUNK_BYTES, len(rest)))
        self.ended = not data
        try:
            self.text = rest + self._decode(data, final=self.ended)
        except UnicodeDecodeError:
            raise CorruptResultsError("The JSON is not UTF-8.") from None
        self.at = 0
        return True

    def peek(self) -> str:
        """Return the next character that is not white space, or an empty string at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def expect(self, characters: str) -> str:
        """Consume the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in characters:
            self.fail()
        self.at += 1
        return found

    def value(self) -> Any:
        """Consume and return the next value; objects as text."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                at_end = (
                    error.msg.startswith("Unterminated") or error.pos > len(self.text) - _MAX_TOKEN_LENGTH
                )
                if at_end and self.more():
                    continue
                self.fail()
            except ValueError:  # an integer of thousands of digits
                self.fail()
            # A number this close to the end may be incomplete: "1e" decodes as 1.
            if end <= len(self.text) - _MAX_TOKEN_LENGTH or not self.more():
                value, self.at = _as_sent(value, self.text, self.at, end), end
                return value

    def fail(self) -> NoReturn:
        """Raise an error for invalid JSON; chaining the decoder's exception would keep the text in memory."""
        what = "is truncated or malformed" if self.ended else "is malformed"
        raise CorruptResultsError(f"The JSON {what}.") from None


class _Reader:
    """Parses the object of the body and collects its columns."""

    def __init__(self, outputs: Collection[str], optional: Collection[str]) -> None:
        self._outputs = outputs
        self._optional = optional
        self.columns: dict[str, _Column] = {}

    def read(self, source: _Source) -> None:
        if source.peek() != "{":
            raise CorruptResultsError("The JSON is not an object of columns.")
        self._object(source, wrapped=False)
        if source.peek():
            raise CorruptResultsError("The JSON has data after its end.")

    def _object(self, source: _Source, *, wrapped: bool) -> None:
        source.expect("{")
        if source.peek() == "}":
            source.at += 1
            return
        while True:
            if source.peek() != '"':
                source.fail()
            name = source.value()
            source.expect(":")
            first = source.peek()
            if first == "[":
                self._array(source, name)
            elif first == "{" and name == "results" and not wrapped:
                self._object(source, wrapped=True)
            else:
                self._other(name, source.value())
            if source.expect(",}") == "}":
                return

    def _other(self, name: str, value: object) -> None:
        """Ignore other values, such as messages or counts; raise if the value should be an array."""
        if name in self._outputs or (name in self._optional and value is not None):
            raise CorruptResultsError(f"{_shown(name)} of the JSON is not an array.")

    def _array(self, source: _Source, name: str) -> None:
        if name in self.columns:
            raise CorruptResultsError(f"The JSON has {_shown(name)} more than once.")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise CorruptResultsError("A column name of the JSON is not valid Unicode.")
        column = self.columns[name] = _Column(name)
        source.expect("[")
        if source.peek() == "]":
            source.at += 1
            return
        ended = False
        while not ended:
            batch, ended = _elements(source)
            if not ended:
                # The buffer ends within this element: read the rest of it first.
                batch.append(source.value())
                ended = source.expect(",]") == "]"
            column.add(batch)
            batch = []  # free it before the next one is read


def _elements(source: _Source) -> tuple[list[Any], bool]:
    """Consume the elements that are complete in memory, with their delimiters; return them and whether the array ended.

    Decoding them together is three times as fast as one by one. The text before a comma is a list of complete
    elements exactly if it decodes between brackets, so a wrongly guessed comma costs only time.
    """
    if source.peek() == "{":
        return _elements_one_by_one(source)
    text, at = source.text, source.at
    for comma in _likely_commas(text, at):
        try:
            batch, end = _DECODER.raw_decode("[" + text[at:comma] + "]")
        except ValueError:
            continue
        if dict in set(map(type, batch)):
            break
        if batch:  # empty only between two commas, which the slow path reports
            ended = end < comma - at + 2  # by its own bracket
            source.at = at + end - 1 if ended else comma + 1
            return batch, ended
    return _elements_one_by_one(source)


def tokens(text: str) -> list[str]:
    """Return the tokens of valid JSON, without white space."""
    return _TOKEN.findall(text)


def _as_sent(value: Any, text: str, start: int, end: int) -> Any:
    """Return an object as JSON text that keeps everything sent, such as duplicate keys and long numbers."""
    if not isinstance(value, dict):
        return value
    sent = text[start:end]
    written = json_text(value)
    if written == sent:
        return written
    escaped, separators = "\\u" in sent, None if '": ' in sent else (",", ":")
    if json.dumps(value, ensure_ascii=escaped, separators=separators) == sent:  # lossless
        return written
    return "".join(_SPACED.get(token) or _unescaped(token) for token in tokens(sent))


def _unescaped(token: str) -> str:
    return json.dumps(json.loads(token), ensure_ascii=False) if token.startswith('"') else token


def _likely_commas(text: str, at: int) -> Iterator[int]:
    ends = {'"': '",', "[": "],", "{": "},"}.get(text[at : at + 1], ",")
    for end in dict.fromkeys((ends, '",')):
        found = text.rfind(end, at)
        if found >= 0:
            yield found + len(end) - 1


def _elements_one_by_one(source: _Source) -> tuple[list[Any], bool]:
    text, at = source.text, source.at
    batch: list[Any] = []
    ended = False
    try:
        while not ended:
            value, end = _DECODER.raw_decode(text, at)
            found = _DELIMITER.match(text, end)
            if found is None:
                break
            batch.append(_as_sent(value, text, at, end))
            at = found.end()
            ended = found[1] == "]"
    except ValueError:
        pass  # truncated or malformed: `_Source.value` decides
    source.at = at
    return batch, ended


class _Column:
    """One column, built batch by batch."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows = 0
        self._chunks: list[pa.Array] = []

    def add(self, batch: list[Any]) -> None:
        try:
            self._chunks.append(_to_array(batch))
        except UnicodeEncodeError:
            bad = next(i for i, value in enumerate(batch) if not _is_unicode(value))
            raise CorruptResultsError(
                f"{_shown(self._name)} has an unpaired surrogate in row {self._rows + bad + 1:,}, which is not valid text."
            ) from None
        self._rows += len(batch)

    def finish(self) -> pa.ChunkedArray:
        kinds = {chunk.type for chunk in self._chunks} - {pa.null()}
        target = _common_type(kinds)
        try:
            if target is not None:
                return pa.chunked_array([chunk.cast(target) for chunk in self._chunks], target)
        except pa.ArrowInvalid:  # an integer that a float cannot represent
            pass
        return pa.chunked_array([_chunk_text(chunk) for chunk in self._chunks], pa.string())


def _common_type(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return a type that represents all of these without loss, or None if only text does."""
    if len(kinds) <= 1:
        return next(iter(kinds), pa.null())
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    if all(pa.types.is_list(kind) for kind in kinds):
        value = _common_type({kind.value_type for kind in kinds} - {pa.null()})
        return value and pa.list_(value)
    return None


def _to_array(batch: list[Any]) -> pa.Array:
    kinds = set(map(type, batch)) - {type(None)}
    if kinds == {list}:
        inner = _scalar_type(list(chain.from_iterable(value for value in batch if value is not None)))
        target = inner and pa.list_(inner)
    else:
        target = _scalar_type(batch, kinds)
    return _text_array(batch) if target is None else pa.array(batch, target)


def _scalar_type(values: list[Any], kinds: set[type] | None = None) -> pa.DataType | None:
    """Return the type of these values, or None if only text represents them without loss."""
    kinds = set(map(type, values)) - {type(None)} if kinds is None else kinds
    if kinds <= {int, float} and int in kinds:
        integers = [value for value in values if type(value) is int]
        low, high = min(integers), max(integers)
        if float in kinds:
            return pa.float64() if low >= -_EXACT_FLOAT and high <= _EXACT_FLOAT else None
        return pa.int64() if low >= -(2**63) and high < 2**63 else None
    if not kinds:
        return pa.null()
    types = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    return types.get(kinds.pop()) if len(kinds) == 1 else None


def _text_array(values: list[Any]) -> pa.Array:
    return pa.array([json_text(value) for value in values], pa.string())


def _chunk_text(chunk: pa.Array) -> pa.Array:
    return chunk if chunk.type == pa.string() else _text_array(chunk.to_pylist())


def _is_unicode(value: object) -> bool:
    try:
        (json_text(value) or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    """Return a column name for a message, shortened and without control characters."""
    return "`" + "".join(c if c.isprintable() else "?" for c in name[:60]) + "`"
