"""Limits that a user, or an attacker, can meet, each with its reason.

Sizes are bytes unless a name says otherwise. Names without a unit of size count things.
"""

from __future__ import annotations

# HTTP
CONNECT_SECONDS = 10.0
"""Time to open a connection."""
READ_SECONDS = 60.0
"""Longest silence of a service that is answering."""
MAX_REDIRECTS = 5
"""Redirects of one request; honest services need one or two."""
MAX_REPLY_BYTES = 64 << 20
"""Largest reply, unpacked, that is read at once; a hundred jobs take some hundred kilobytes."""
OUTAGE_SECONDS = 300.0
"""Waiting for a job ends when the service has not answered for this long."""
JUST_SUCCEEDED_SECONDS = 120.0
"""For this long after success the results may not be written yet; the SDK waits up to 100 s."""
MAX_JOB_ID_LENGTH = 200
"""Characters of a job id or name; a longer one is a paste by mistake."""
MAX_REMEMBERED_JOBS = 2000
"""Jobs remembered for completion; the oldest are forgotten first."""

# Downloads and previews
CONNECTIONS = 8
"""Most connections to an object storage at once; one is used where ranges are not supported."""
PREVIEW_SHARE = 0.2
"""Largest share of an artifact that a preview transfers; beyond, the whole is hardly dearer."""
PREVIEW_DECODED_BYTES = 1 << 30
"""Decoded bytes of row groups that a preview may take."""
PREVIEW_FETCHED_BYTES = 256 << 20
"""Bytes of row groups that a preview holds in memory as they come."""

# The cache
LOCK_SECONDS = 300.0
"""Longest wait for another process that is downloading the same job."""
CACHE_BYTES = 20 * 10**9
"""Size of the cache where none is configured, or `CACHE_DISK_SHARE` of the free disk if that is less."""
CACHE_DISK_SHARE = 10
"""One part in this many of the free disk."""
DEMO_CACHE_BYTES = 10**9
"""Size of the cache that the demo service may fill."""
DISK_RESERVE_BYTES = 500 * 10**6
"""Space that stays free on a disk, or one part in `DISK_RESERVE_SHARE` if that is less."""
DISK_RESERVE_SHARE = 50
"""One part in this many of a disk."""

# CSV and JSON bodies
CSV_ROW_BYTES = 256 << 20
"""Longest CSV row: it is held in memory a few times; the longest known outputs have some megabytes."""
ZIP_DIRECTORY_BYTES = 16 << 20
"""Largest directory of a ZIP archive; ours hold one file."""
ZIP_EXPANSION_RATIO = 200
"""Largest ratio of unpacked to packed bytes of an archive above `ZIP_ALWAYS_ALLOWED_BYTES`."""
ZIP_ALWAYS_ALLOWED_BYTES = 1 << 30
"""Unpacked bytes of an archive that are accepted whatever the ratio."""
JSON_BYTES = 1 << 30
"""Largest JSON body; the format is meant for small results, and its columns come one after the other."""
JSON_VALUE_CHARACTERS = 16 << 20
"""Longest JSON value: it is held in memory a few times; the longest known outputs have some megabytes."""

# Parquet files: small files can claim to decode into gigabytes
FOOTER_BYTES = 16 << 20
"""Largest footer; ten million rows in row groups of 20,000 need less than one megabyte, unless statistics hold long text:"""
FOOTER_SHARE = 8
"""so it may be one part in this many of the file, up to"""
LARGE_FOOTER_BYTES = 128 << 20
"""this size."""
PARQUET_COLUMNS = 10_000
"""Columns of a file."""
MAX_ROWS = 2_000_000_000
"""Rows of a job."""
PARQUET_PAGES = 1_000_000
"""Pages of a file; each costs some microseconds to check."""
THRIFT_DEPTH = 50
"""Nested structs in the metadata of a file."""
PAGE_BYTES = 1 << 30
"""Decoded bytes of one page, or `PAGE_EXPANSION_RATIO` times its size in the file: most writers end a page after a megabyte, DuckDB after 100."""
PAGE_EXPANSION_RATIO = 100
"""See `PAGE_BYTES`."""
CHUNK_PAGES = 100_000
"""Pages of one column in one row group; writers put 20,000 rows or a megabyte into a page."""
LIST_BYTES = 2 << 30
"""Average decoded bytes of a list, if all its values were as long as the longest; Arrow cannot hold more text than that in one batch."""
ROW_MEMORY_SHARE = 4
"""One row may claim one part in this many of the memory, unless the file itself is large."""
ROW_ALWAYS_ALLOWED_BYTES = 1 << 30
"""Bytes that one row may claim however little memory there is."""
EXPANSION_RATIO = 20
"""Largest ratio of decoded to stored bytes that is accepted without further checks: writers put the first 1,024 strings, however long, into one dictionary page."""

# Structured outputs
JSON_DEPTH = 200
"""Nested lists and objects in one output; the limit of Python itself depends on the caller."""
UNFOLDED_COLUMNS = 1_000
"""Fields that become columns; more keys than that are data of their own."""

# Queries
DUCKDB_MEMORY_SHARE = 4
"""DuckDB may take one part in this many of the memory, between the next two."""
DUCKDB_LEAST_MEMORY = 256 * 2**20
"""Bytes."""
DUCKDB_MOST_MEMORY = 4 * 2**30
"""Bytes."""
ANSWER_MEMORY_BYTES = 256 * 2**20
"""Bytes of a query result that stay in memory; a larger one is kept in a temporary file."""

# Displays
MAX_PAGE_ROWS = 1_000
"""Rows on one page of a table."""
DETAIL_CHARACTERS = 200_000
"""Characters of a value that the detail pane shows before it is asked for all."""
