"""Milliseconds from a click to paint, in JupyterLab and Chromium, over a table of ten million rows.

Run ``python tests/benchmarks/bench_table_browser.py [--rows N] [--turns N]``. Turns pages and sorts by a number, first and after
many turns; prints medians, the nodes of the page before and after, and the kernel's anonymous memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "browser")]

from bench_table import make  # noqa: E402 - found by the line above
from jlab import (  # noqa: E402
    cell_output,
    chromium,
    kernel_eval,
    lab,
    new_page,
    notebook,
    open_notebook,
    run_all,
)

CELL = """
import pyarrow as pa
from sutro_magic.query import duckdb_engine
from sutro_magic.query.pages import Pages
from sutro_magic.ui.table.paged_table import PagedTable
duckdb_engine.configure(memory_limit="300MB")
table = pa.ipc.open_file(pa.memory_map({path!r})).read_all()
PagedTable(Pages(lambda: table), table.slice(0, 100), num_rows=table.num_rows, page_length=100)
"""
MEMORY = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('RssAnon')][0])"
CLICK = """async ([selector, nth]) => {
    const root = document.querySelector('.sutro-table');
    const before = root.querySelector('tbody tr').dataset.row + root.querySelector('.dt-info').textContent;
    const begin = performance.now();
    root.querySelectorAll(selector)[nth].click();
    while (root.querySelector('tbody tr').dataset.row + root.querySelector('.dt-info').textContent === before)
        await new Promise(requestAnimationFrame);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begin;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        root, path = Path(folder), Path(folder) / "table.arrow"
        make(path, options.rows)
        notebook(root / "bench.ipynb", [CELL.format(path=str(path))])
        with lab(root) as server, new_page(browser) as (page, _):
            open_notebook(page, server, "bench.ipynb")
            run_all(page)
            cell_output(page, 0).locator(".dt-info").wait_for()
            start = int(kernel_eval(page, MEMORY))

            def click(selector: str, nth: int = 0) -> float:
                return page.evaluate(CLICK, [selector, nth])

            def nodes() -> int:
                return page.evaluate("() => document.querySelectorAll('*').length")

            click(".dt-paging-button.next")
            before = nodes()
            turns = [click(".dt-paging-button.next") for _ in range(options.turns)]
            print(
                f"page turn, first 20: {statistics.median(turns[:20]):.0f} ms, last 20: {statistics.median(turns[-20:]):.0f} ms"
            )
            print(f"nodes: {before:,} before, {nodes():,} after {options.turns} turns")
            print(f"first sort by a number: {click('th .dt-column-order', 4):.0f} ms")
            print(f"its last page: {click('.dt-paging-button:nth-last-child(2)'):.0f} ms")
            print(
                f"anonymous memory of the kernel: {(int(kernel_eval(page, MEMORY)) - start) / 1024:,.0f} MB more"
            )


if __name__ == "__main__":
    main()
