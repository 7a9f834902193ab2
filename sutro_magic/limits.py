"""Limits that users or attackers can meet, each with its reason.

Sizes are in bytes unless the name says otherwise; names without a unit are counts.
"""

from __future__ import annotations

# HTTP
CONNECT_SECONDS = 10.0
"""Time-out for opening a connection."""
READ_SECONDS = 60.0
"""Time-out between two reads of a reply."""
MAX_REDIRECTS = 5
"""Redirects of one request; a correct service needs one or two."""
MAX_REPLY_BYTES = 64 << 20
"""Largest decompressed reply that is read into memory; a hundred jobs take a few hundred kilobytes."""
OUTAGE_SECONDS = 300.0
"""Polling a job ends if the service has not answered for this long."""
JUST_SUCCEEDED_SECONDS = 120.0
"""For this long after success the results may not be written yet; the SDK waits up to 100 s."""
MAX_JOB_ID_LENGTH = 200
"""Characters of a job id or name; a longer one was probably pasted by mistake."""
MAX_REMEMBERED_JOBS = 2000
"""Jobs remembered for completion; the oldest are forgotten first."""

# Downloads and previews
CONNECTIONS = 8
"""Maximum number of connections to an object storage; one is used if it does not support ranges."""
PREVIEW_SHARE = 0.2
"""Largest share of an artifact that a preview transfers; beyond it, fetching everything costs little more."""
PREVIEW_DECODED_BYTES = 1 << 30
"""Decoded bytes of the row groups that a preview reads."""
PREVIEW_FETCHED_BYTES = 256 << 20
"""Encoded bytes of row groups that a preview holds in memory."""

# The cache
LOCK_SECONDS = 300.0
"""Longest wait for another process that is downloading the same job."""
CACHE_BYTES = 20 * 10**9
"""Default cache size; `CACHE_DISK_SHARE` of the free disk if that is less."""
CACHE_DISK_SHARE = 10
"""One part in this many of the free disk."""
DEMO_CACHE_BYTES = 10**9
"""Share of the cache for the demo service."""
DISK_RESERVE_BYTES = 500 * 10**6
"""Disk space that is left free, or one part in `DISK_RESERVE_SHARE` of the disk if that is less."""
DISK_RESERVE_SHARE = 50
"""One part in this many of a disk."""

# CSV and JSON bodies
CSV_ROW_BYTES = 256 << 20
"""Longest CSV row. A row is held in memory several times; the longest known outputs take a few megabytes."""
ZIP_DIRECTORY_BYTES = 16 << 20
"""Largest directory of a ZIP archive; the service's archives hold one file."""
ZIP_EXPANSION_RATIO = 200
"""Largest ratio of unpacked to packed bytes for archives above `ZIP_ALWAYS_ALLOWED_BYTES`."""
ZIP_ALWAYS_ALLOWED_BYTES = 1 << 30
"""Unpacked size up to which any ratio is accepted."""
JSON_BYTES = 1 << 30
"""Largest JSON body. The format is meant for small results, and its columns are sent one after the other."""
JSON_VALUE_CHARACTERS = 16 << 20
"""Longest JSON value. A value is held in memory several times; the longest known outputs take a few megabytes."""

# Parquet files: small files can claim to decode into gigabytes
FOOTER_BYTES = 16 << 20
"""Largest footer. Ten million rows in row groups of 20,000 need less than one megabyte; long statistics need more:"""
FOOTER_SHARE = 8
"""a footer may also take one part in this many of the file, up to"""
LARGE_FOOTER_BYTES = 128 << 20
"""this size."""
PARQUET_COLUMNS = 10_000
"""Columns of one file."""
MAX_ROWS = 2_000_000_000
"""Rows of a job."""
PARQUET_PAGES = 1_000_000
"""Pages of one file; checking one takes a few microseconds."""
THRIFT_DEPTH = 50
"""Nested structs in the metadata of a file."""
PAGE_BYTES = 1 << 30
"""Decoded bytes of one page, or `PAGE_EXPANSION_RATIO` times its stored size. Most writers end a page after a megabyte, DuckDB after 100."""
PAGE_EXPANSION_RATIO = 100
"""See `PAGE_BYTES`."""
CHUNK_PAGES = 100_000
"""Pages of one column in one row group; writers put 20,000 rows or a megabyte into a page."""
LIST_BYTES = 2 << 30
"""Average decoded bytes of a list if all its values were as long as the longest; one Arrow batch cannot hold more text."""
ROW_MEMORY_SHARE = 4
"""One row may need one part in this many of the memory, unless the file itself is large."""
ROW_ALWAYS_ALLOWED_BYTES = 1 << 30
"""Bytes that one row may always need, however little memory there is."""
EXPANSION_RATIO = 20
"""Largest decoded-to-stored ratio accepted without further checks. Writers put the first 1,024 strings, however long, into one dictionary page."""

# Structured outputs
JSON_DEPTH = 200
"""Nesting depth of one output; Python's own limit depends on the caller's stack."""
UNFOLDED_COLUMNS = 1_000
"""Fields that become columns; an object with more keys is a mapping, not a record."""

# Queries
DUCKDB_MEMORY_SHARE = 4
"""DuckDB may take one part in this many of the memory, between the two limits below."""
DUCKDB_MIN_MEMORY_BYTES = 256 * 2**20
DUCKDB_MAX_MEMORY_BYTES = 4 * 2**30
ANSWER_MEMORY_BYTES = 256 * 2**20
"""Bytes of a query result kept in memory; a larger one goes to a temporary file."""

# Displays
MAX_PAGE_ROWS = 1_000
"""Rows on one page of a table."""
DETAIL_CHARACTERS = 200_000
"""Characters of a value shown in the detail pane before the rest is requested."""
