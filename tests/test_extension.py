"""Loading costs nothing, and unloading leaves the shell as it was."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sutro_magic.magics import flags
from sutro_magic.models import WIRE_FORMATS, JobStatus
from sutro_magic.results.handle import AS_TYPES

pytestmark = pytest.mark.slow

HEAVY = {"pandas", "numpy", "pyarrow", "requests", "ipywidgets", "itables", "duckdb", "polars"}

IN_A_FRESH_SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
"""


def in_a_fresh_shell(code):
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_SHELL + code], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_loading_imports_nothing_heavy():
    added = in_a_fresh_shell("""
before = set(sys.modules)
shell.run_line_magic("load_ext", "sutro_magic")
print(json.dumps(sorted(set(sys.modules) - before)))
""")
    assert "sutro_magic.magics.magics" in added
    assert not HEAVY & {name.partition(".")[0] for name in added}


SNAPSHOT = """
import gc, threading
def snapshot():
    gc.collect()
    magics, formatters = shell.magics_manager, shell.display_formatter.formatters
    printers = [formatters[kind] for kind in sorted(formatters)] + [
        shell.display_formatter.mimebundle_formatter, shell.display_formatter.ipython_display_formatter
    ]
    return {
        "line": sorted(magics.magics["line"]), "cell": sorted(magics.magics["cell"]),
        "lazy": sorted(magics.lazy_magics), "registry": sorted(magics.registry),
        "configurables": [type(c).__name__ for c in shell.configurables],
        "config": str(shell.config),
        "names": sorted(shell.user_ns), "hidden": sorted(shell.user_ns_hidden),
        "printers": [[str(getattr(p, kind)) for kind in ("singleton_printers", "type_printers", "deferred_printers")]
                     for p in printers],
        "matchers": [getattr(m, "matcher_identifier", "?") for m in shell.Completer.custom_matchers],
        "completers": str(shell.Completer.custom_completers), "hooks": {k: str(v) for k, v in vars(shell.hooks).items()},
        "events": {k: [str(f) for f in v] for k, v in shell.events.callbacks.items()},
        "transformers": [str(shell.input_transformers_cleanup), str(shell.input_transformers_post), str(shell.ast_transformers)],
        "threads": sorted(t.name for t in threading.enumerate()),
        "debug": "sutro_magic.errors" in sys.modules and sys.modules["sutro_magic.errors"].SutroError.debug,
        "database": "sutro_magic.query.duckdb_engine" in sys.modules and sys.modules["sutro_magic.query.duckdb_engine"]._database._connection is not None,
    }
"""
USE = """
for name, line in [("load_ext", "sutro_magic"), ("sutro_demo", ""), ("sutro_jobs", "--limit 3"),
                   ("sutro_results", "job_12345 --name df --quiet"), ("sutro_demo", "fault slow")]:
    shell.run_line_magic(name, line)
shell.run_cell("r = %sutro_results job-demo-museum\\nr\\n%sutro_status job_12345")
shell.run_cell("%%sutro_sql --name counts\\nselect count(*) as n from df")
assert list(shell.user_ns["counts"].n) == [2]
shell.run_cell("%config SutroMagics.debug = True\\n%sutro_jobs --limit 2")
shell.display_formatter.format(shell.user_ns["r"])
from sutro_magic.query.duckdb_engine import QueryQueue
queue = QueryQueue()  # as a table has one
assert queue.rows("select 1", {}) == [(1,)]
assert len(shell.user_ns["df"]) == 2 and "_session" in vars(shell.magics_manager.registry["SutroMagics"])
with provisionalcompleter():
    assert "job_12345" in [c.text for c in shell.Completer.completions("%sutro_results job", 18)]
"""


def test_unloading_takes_everything_back():
    before, loaded, after = in_a_fresh_shell(
        SNAPSHOT
        + """
states = [snapshot()]
shell.extension_manager.load_extension("sutro_magic")
sys.modules["sutro_magic"].load_ipython_extension(shell)
states.append(snapshot())
shell.extension_manager.unload_extension("sutro_magic")
states.append(snapshot())
print(json.dumps(states))
"""
    )
    assert before == after
    assert set(loaded["line"]) - set(before["line"]) == {
        "sutro_results", "sutro_jobs", "sutro_status", "sutro_wait", "sutro_profile", "sutro_compare", "sutro_browse", "sutro_cache",
        "sutro_login", "sutro_demo", "sutro_help",
    }  # fmt: skip
    assert set(loaded["cell"]) - set(before["cell"]) == {"sutro_sql"}
    assert loaded["configurables"].count("SutroMagics") == 1
    assert loaded["matchers"] == [*before["matchers"], "sutro_magic"]


def test_unloading_takes_everything_back_after_a_day_s_work():
    before, used, after, again = in_a_fresh_shell(
        "from IPython.core.completer import provisionalcompleter\n"
        + SNAPSHOT
        + 'shell.run_line_magic("config", "")\n'  # loads magics of IPython itself
        + "states = [snapshot()]\n"
        + USE
        + """
states.append(snapshot())
for action in ("unload_ext", "reload_ext"):
    shell.run_line_magic(action, "sutro_magic")
    for name in ("df", "r", "counts", "_", "__", "___", *[n for n in shell.user_ns if n[:1] == "_" and n[1:].isdigit()]):
        shell.user_ns.pop(name, None)
    states.append(snapshot())
assert queue.rows("select 2", {}) == [(2,)], "a table that is still there goes on"
print(json.dumps(states))
"""
    )
    assert used["database"] and used["debug"] and "sutro-demo" in used["threads"]
    mine = ("config", "names", "hidden")  # what the user gave and made stays
    assert {k: v for k, v in before.items() if k not in mine} == {
        k: v for k, v in after.items() if k not in mine
    }
    assert "'debug': True" in after["config"]
    assert again["debug"] and "SutroMagics" in again["registry"] and again["matchers"] == ["sutro_magic"]
    assert "sutro-demo" not in again["threads"], "a reloaded extension starts without the demo service"


def test_unloading_ends_the_demo_service_and_its_threads():
    threads = in_a_fresh_shell("""
import threading
before = set(threading.enumerate())
shell.run_line_magic("load_ext", "sutro_magic")
shell.run_line_magic("sutro_demo", "")
shell.run_line_magic("sutro_jobs", "--limit 1")
shell.run_line_magic("unload_ext", "sutro_magic")
print(json.dumps([str(t) for t in threading.enumerate() if t not in before and t.is_alive()]))
""")
    assert threads == []


def test_after_unloading_the_magics_are_not_found_and_reloading_brings_them_back():
    found = in_a_fresh_shell("""
found = []
for action in ("load_ext", "unload_ext", "reload_ext"):
    shell.run_line_magic(action, "sutro_magic")
    found.append(shell.find_line_magic("sutro_results") is not None)
print(json.dumps(found))
""")
    assert found == [True, False, True]


def test_a_wrong_setting_does_not_stop_the_next_loading():
    value = in_a_fresh_shell("""
shell.run_line_magic("load_ext", "sutro_magic")
shell.run_line_magic("config", "SutroMagics.format = 'xml'")
shell.run_line_magic("reload_ext", "sutro_magic")
print(json.dumps(shell.magics_manager.registry["SutroMagics"].format))
""")
    assert value == "parquet"


def test_the_words_of_the_flags_are_those_of_the_session():
    assert flags.FORMATS == WIRE_FORMATS
    assert flags.AS_TYPES == AS_TYPES
    assert tuple(status.value.lower() for status in JobStatus) == flags.STATUSES
