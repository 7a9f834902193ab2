"""A results file as one table."""

from __future__ import annotations

import pyarrow as pa

from sutro_magic import views


def read_table(path, table, *, inputs=False, logprobs=False):
    asked = {"inputs": inputs, "logprobs": logprobs}
    return pa.Table.from_batches(
        views.read_batches(path, table, **asked), views.read_schema(path, table, **asked)
    )
