"""Writes Thrift's compact protocol, for footers of Parquet files that no library would write."""

from __future__ import annotations

import struct

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def i32(number):
    return I32, varint((number << 1) ^ (number >> 63))


def i64(number):
    return I64, varint((number << 1) ^ (number >> 63))


def binary(data):
    return BINARY, varint(len(data)) + data


def structs(items, *, claim=None):
    """Write a list of structs, which may claim to be longer than it is."""
    count = len(items) if claim is None else claim
    head = bytes([count << 4 | STRUCT]) if count < 15 else bytes([0xF0 | STRUCT]) + varint(count)
    return LIST, head + b"".join(items)


def fields(**numbered):
    """Write a struct; `_2=i64(7)` is its field 2."""
    out, last = b"", 0
    for name, (kind, value) in numbered.items():
        number = int(name[1:])
        out += bytes([(number - last) << 4 | kind]) + value
        last = number
    return out + b"\0"


def leaf(name):
    return fields(_1=i32(6), _3=i32(1), _4=binary(name.encode()))


def group(name, children):
    return fields(_3=i32(1), _4=binary(name.encode()), _5=i32(children))


def footer(schema, *, rows=0, groups=(), claimed_columns=None, claimed_groups=None):
    """Write the metadata of a file."""
    return fields(
        _1=i32(1),
        _2=structs(schema, claim=claimed_columns),
        _3=i64(rows),
        _4=structs(list(groups), claim=claimed_groups),
    )


def parquet(metadata, *, body=b"", length=None):
    """Put a file together, with a true or a false length of its footer."""
    size = len(metadata) if length is None else length
    return b"PAR1" + body + metadata + struct.pack("<I", size) + b"PAR1"
