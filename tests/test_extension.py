"""Loading costs nothing, and unloading leaves the shell as it was."""

from __future__ import annotations

import json
import subprocess
import sys

from sutro_magic import arguments
from sutro_magic.models import WIRE_FORMATS, JobStatus
from sutro_magic.results import AS_TYPES

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
    assert "sutro_magic.magics" in added
    assert not HEAVY & {name.partition(".")[0] for name in added}


def test_unloading_takes_everything_back():
    before, loaded, after = in_a_fresh_shell("""
def snapshot():
    magics = shell.magics_manager
    formatter = shell.display_formatter.mimebundle_formatter
    return {
        "line": sorted(magics.magics["line"]), "cell": sorted(magics.magics["cell"]),
        "lazy": sorted(magics.lazy_magics), "registry": sorted(magics.registry),
        "configurables": [type(c).__name__ for c in shell.configurables],
        "names": sorted(shell.user_ns), "hidden": sorted(shell.user_ns_hidden),
        "displayed": sorted(map(str, formatter.type_printers)) + sorted(map(str, formatter.deferred_printers)),
        "plain": sorted(map(str, shell.display_formatter.formatters["text/plain"].deferred_printers)),
        "matchers": len(shell.Completer.custom_matchers),
    }
states = [snapshot()]
shell.extension_manager.load_extension("sutro_magic")
shell.extension_manager.load_extension("sutro_magic")
states.append(snapshot())
shell.extension_manager.unload_extension("sutro_magic")
states.append(snapshot())
print(json.dumps(states))
""")
    assert before == after
    assert set(loaded["line"]) - set(before["line"]) == {
        "sutro_results", "sutro_jobs", "sutro_status", "sutro_wait", "sutro_browse", "sutro_cache", "sutro_login", "sutro_demo",
    }  # fmt: skip
    assert loaded["cell"] == before["cell"]
    assert loaded["configurables"].count("SutroMagics") == 1


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
    assert arguments.FORMATS == WIRE_FORMATS
    assert arguments.AS_TYPES == AS_TYPES
    assert tuple(status.value.lower() for status in JobStatus) == arguments.STATUSES
