"""Reader of Thrift's compact protocol for untrusted Parquet metadata.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic import limits

if TYPE_CHECKING:
    from collections.abc import Iterator


TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
_BYTES = {BYTE: 1, DOUBLE: 8, UUID: 16}
_LONG_LIST = 15
_MAX_VARINT_BYTES = 10


class ThriftError(Exception):
    """The data are invalid."""


class Reader:
    """Reads values sequentially; raises `IndexError` at the end of the data and `ThriftError` for invalid data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at(self) -> int:
        """Number of bytes read."""
        return self._at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct; the caller reads or skips each value."""
        number = 0
        seen: set[int] = set()
        while head := self._byte():
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self.signed()
            # Of a duplicate field, or a number beyond 16 bits, other readers may use another value than this one.
            if number in seen or not -(1 << 15) <= number < 1 << 15:
                raise ThriftError
            seen.add(number)
            yield number, kind

    def signed(self) -> int:
        """Return an integer."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def signed32(self) -> int:
        """Return an integer of 32 bits."""
        value = self.signed()
        if not -(1 << 31) <= value < 1 << 31:
            raise ThriftError
        return value

    def list_head(self) -> tuple[int, int]:
        """Return the number of elements of a list and their type."""
        head = self._byte()
        count = head >> 4
        return (self._varint() if count == _LONG_LIST else count), head & 0x0F

    def skip(self, kind: int, depth: int = 0, *, in_list: bool = False) -> None:
        """Skip a value."""
        if depth > limits.THRIFT_DEPTH:
            raise ThriftError
        if kind in {TRUE, FALSE}:
            self._at += in_list  # as a field, the type is the value
        elif kind in _BYTES:
            self._at += _BYTES[kind]
        elif kind in {I16, I32, I64}:
            self._varint()
        elif kind == BINARY:
            length = self._varint()
            self._at += length
        elif kind in {LIST, SET}:
            count, inner = self.list_head()
            self._skip_all(count, (inner,), depth)
        elif kind == MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_all(count, (kinds >> 4, kinds & 0x0F), depth)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ThriftError

    def _skip_all(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(count):
            self._peek()  # raises for a list that is longer than the data
            for kind in kinds:
                self.skip(kind, depth + 1, in_list=True)

    def _peek(self) -> int:
        return self._data[self._at]

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        for _ in range(_MAX_VARINT_BYTES):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value
            shift += 7
        raise ThriftError
