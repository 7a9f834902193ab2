"""Columns of a JSON body, read element by element, so that only Arrow data stays in memory.

The body is one object of arrays, alone or as ``{"results": {...}}``. Python's own decoder reads
every element, so texts, big integers, ``NaN`` and escapes are what ``json.loads`` makes of them.
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
"""So many times its body may JSON take in memory, most of it for the finished columns, and `MEMORY_FIXED` beside."""
MEMORY_FIXED = 300 << 20

_SPACE = re.compile(r"[ \t\n\r]*")
_DELIMITER = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_LONGEST_TOKEN = 16  # no literal or escape is longer: an error farther from the end is no matter of a cut
_EXACT_FLOAT = 2**53
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_DECODER = json.JSONDecoder()
_SPACED = {",": ", ", ":": ": "}


def read_columns(
    path: Path, *, outputs: Collection[str], optional: Collection[str]
) -> dict[str, pa.ChunkedArray]:
    """Read the arrays of a JSON body.

    An array of texts becomes a text column, of integers int64, of numbers float64, of booleans bool;
    arrays whose elements are lists of numbers, texts or booleans become list columns. In any other
    mixture, with objects, and with integers beyond 64 bits, texts stay as they are and everything
    else becomes JSON text.

    Parameters
    ----------
    path : pathlib.Path
        The body.
    outputs : collection of str
        Names of columns that must be arrays where they are there.
    optional : collection of str
        Names of columns that may also be null, which means that they are not there.

    Returns
    -------
    dict of str to pyarrow.ChunkedArray
        By name, in the order of the body, all of one length.

    Raises
    ------
    CorruptResultsError
        When the body is cut, not JSON, or not an object of arrays of one length.
    ResultsTooLargeError
        When the body or a value in it is too large.
    """
    size = path.stat().st_size
    memory = resources.memory()
    room = limits.JSON_BYTES if memory is None else max(0, memory - MEMORY_FIXED) // MEMORY_FACTOR
    limit = min(limits.JSON_BYTES, room)
    if size > limit:
        raise ResultsTooLargeError(
            f"The JSON body has {size:,} bytes; JSON is for small results, here up to {limit:,} bytes."
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
    """The text of a stream, of which only the part not yet decoded is kept."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.ended = False
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Read on; as much again as is left over, so that a very long value costs time in proportion."""
        if self.ended:
            return False
        rest = self.text[self.at :]
        if len(rest) > limits.JSON_VALUE_CHARACTERS:
            raise ResultsTooLargeError(
                f"A value of the JSON has over {limits.JSON_VALUE_CHARACTERS:,} characters."
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
        """Return the next character that is not white space; empty at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def expect(self, characters: str) -> str:
        """Take the next character, which must be one of these."""
        found = self.peek()
        if not found or found not in characters:
            self.fail()
        self.at += 1
        return found

    def value(self) -> Any:
        """Take the next value whole; an object as text."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                at_end = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _LONGEST_TOKEN
                if at_end and self.more():
                    continue
                self.fail()
            except ValueError:  # an integer of thousands of digits
                self.fail()
            # A number so near to the end may go on after it: "1e" decodes as 1.
            if end <= len(self.text) - _LONGEST_TOKEN or not self.more():
                value, self.at = _as_sent(value, self.text, self.at, end), end
                return value

    def fail(self) -> NoReturn:
        """Say that this is not JSON; the decoder's own error would keep the text alive."""
        what = "is cut off or malformed" if self.ended else "is malformed"
        raise CorruptResultsError(f"The JSON {what}.") from None


class _Reader:
    """Walks over the body's object and collects its columns."""

    def __init__(self, outputs: Collection[str], optional: Collection[str]) -> None:
        self._outputs = outputs
        self._optional = optional
        self.columns: dict[str, _Column] = {}

    def read(self, source: _Source) -> None:
        if source.peek() != "{":
            raise CorruptResultsError("The JSON is not an object of columns.")
        self._object(source, wrapped=False)
        if source.peek():
            raise CorruptResultsError("The JSON goes on after its end.")

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
        """Pass over a message, a job id, a count; never over a column that should be an array."""
        if name in self._outputs or (name in self._optional and value is not None):
            raise CorruptResultsError(f"{_shown(name)} of the JSON is not an array.")

    def _array(self, source: _Source, name: str) -> None:
        if name in self.columns:
            raise CorruptResultsError(f"The JSON has {_shown(name)} twice.")
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
                # Where the text in memory ends; the rest of this element has to be read first.
                batch.append(source.value())
                ended = source.expect(",]") == "]"
            column.add(batch)
            batch = []  # not two at a time in memory


def _elements(source: _Source) -> tuple[list[Any], bool]:
    """Take the elements that are in memory whole, with the delimiters after them; say whether the array ended.

    Decoding them together is three times as fast as one by one. What stands before a comma is a list of
    whole elements exactly if it decodes between brackets, so a badly guessed comma costs time only.
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
        if batch:  # empty only where commas meet, which the slow way will tell
            ended = end < comma - at + 2  # by a bracket of its own
            source.at = at + end - 1 if ended else comma + 1
            return batch, ended
    return _elements_one_by_one(source)


def tokens(text: str) -> list[str]:
    """Return brackets, commas, colons, quoted strings, numbers and words of valid JSON, without white space."""
    return _TOKEN.findall(text)


def _as_sent(value: Any, text: str, start: int, end: int) -> Any:
    """Return an object as text, with all that was sent: a key that stands twice, digits that no float has."""
    if not isinstance(value, dict):
        return value
    sent = text[start:end]
    written = json_text(value)
    if written == sent:
        return written
    escaped, separators = "\\u" in sent, None if '": ' in sent else (",", ":")
    if json.dumps(value, ensure_ascii=escaped, separators=separators) == sent:  # nothing is lost
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
        pass  # cut by the end of the text, or malformed: `_Source.value` will tell
    source.at = at
    return batch, ended


class _Column:
    """One column, growing batch by batch."""

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
                f"{_shown(self._name)} holds half a surrogate pair in row {self._rows + bad + 1:,}, which is no text."
            ) from None
        self._rows += len(batch)

    def finish(self) -> pa.ChunkedArray:
        kinds = {chunk.type for chunk in self._chunks} - {pa.null()}
        target = _common_type(kinds)
        try:
            if target is not None:
                return pa.chunked_array([chunk.cast(target) for chunk in self._chunks], target)
        except pa.ArrowInvalid:  # an integer that a float cannot hold
            pass
        return pa.chunked_array([_chunk_text(chunk) for chunk in self._chunks], pa.string())


def _common_type(kinds: set[pa.DataType]) -> pa.DataType | None:
    """Return the type that holds all of these without changing a value; None where only text can."""
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
    """Return the type of these values; None where only text can hold them as they are."""
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
    """Name a column in a message, without its control characters and not at any length."""
    return "`" + "".join(c if c.isprintable() else "?" for c in name[:60]) + "`"
