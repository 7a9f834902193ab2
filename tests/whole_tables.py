"""A results file as one table."""

from __future__ import annotations

import pyarrow as pa

from sutro_magic.formats import reader


def read_table(path, table, *, inputs=False, logprobs=False):
    asked = {"inputs": inputs, "logprobs": logprobs}
    return pa.Table.from_batches(
        reader.read_batches(path, table, **asked), reader.read_schema(path, table, **asked)
    )
