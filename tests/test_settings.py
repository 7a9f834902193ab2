"""`%config SutroMagics`: every setting says what it is, and a wrong value is refused where it is given."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MAGICS = "get_ipython().magics_manager.registry['SutroMagics']"

WRONG = [
    ("format", "'xml'", "choose one of parquet, csv, json"),
    ("format", "'parket'", "did you mean 'parquet'?"),
    ("format", "None", "choose one of parquet"),
    ("as_type", "'panda'", "did you mean 'pandas'?"),
    ("inputs", "'yes'", "say True or False"),
    ("logprobs", "None", "say True or False"),
    ("debug", "'on'", "say True or False"),
    ("page_length", "0", "from 1 to 1,000"),
    ("page_length", "True", "a whole number"),
    ("page_length", "'ten'", "a whole number"),
    ("threads", "-1", "from 0 to 1,024"),
    ("memory_limit", "'a lot'", "like '2GB'"),
    ("memory_limit", "'0GB'", "like '2GB'"),
    ("memory_limit", "'1B'", "from 64MB to 1000TB"),
    ("memory_limit", "'63.9 MB'", "from 64MB to 1000TB"),
    ("memory_limit", "'999999999999TB'", "from 64MB to 1000TB"),
    ("memory_limit", "'1" + "0" * 400 + "B'", "from 64MB to 1000TB"),
    ("memory_limit", "2", "in quotes"),
    ("cache_dir", "__file_that_is_there__", "is a file"),
    ("cache_dir", "7", "in quotes"),
    ("cache_dir", "'/proc/x/y'", "cannot be made in /proc (No such file"),
    ("cache_dir", "__a_name_that_is_too_long__", "(File name too long)"),
    ("cache_dir", "__a_link_to_nowhere__", "cannot be made in"),
]


@pytest.fixture
def config(kernel):
    """Give a setting, return what the cell said; everything is as before at the end."""
    before = kernel.value(f"{{n: getattr({MAGICS}, n) for n in {MAGICS}.trait_names(config=True)}}")

    def give(name, value):
        reply = kernel.run(f"%config SutroMagics.{name} = {value}")
        assert reply.ok
        return reply.text

    yield give
    kernel.run(f"for n, v in {before}.items(): setattr({MAGICS}, n, v)\ndel n, v")
    kernel.run("get_ipython().config.pop('SutroMagics', None)")


def test_every_setting_says_what_it_is(kernel):
    shown = kernel.run("%config SutroMagics").text
    listed = kernel.run(f"for n in {MAGICS}.trait_names(config=True): print(n)\ndel n").text.split()
    assert {"format", "inputs", "as_type", "cache_dir", "debug"} <= set(listed)
    for name in listed:
        block = shown.partition(f"SutroMagics.{name}=")[2].partition("SutroMagics.")[0]
        assert len(block.splitlines()) >= 3, f"{name} has no help"


@pytest.mark.parametrize("case", WRONG, ids=[f"{n}={v}" for n, v, _ in WRONG])
def test_a_wrong_value_is_refused_in_the_cell_and_the_setting_stays(kernel, config, tmp_path, case):
    name, value, words = case
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for mark, path in (
        ("__file_that_is_there__", "file/below"),
        ("__a_name_that_is_too_long__", "new/" + "x" * 300),
        ("__a_link_to_nowhere__", "link"),
    ):
        value = value.replace(mark, repr(str(tmp_path / path)))
    old = kernel.value(f"repr({MAGICS}.{name})")
    said = config(name, value)
    assert said.startswith(f"SutroMagics.{name} cannot be ") and words in said
    assert said.count("\n") == 1 and f"It stays {old}." in said
    assert kernel.value(f"repr({MAGICS}.{name})") == old
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}, "to look leaves nothing behind"
    assert config("page_length", "25") == "", "the next one is not held up by it"
    assert kernel.value(f"{MAGICS}.page_length") == "25"


def test_a_misspelled_setting_is_named(kernel, config):
    assert "Did you mean `format`" in config("fromat", "'csv'")


def test_the_cache_moves_at_once(kernel, config, tmp_path):
    assert config("cache_dir", f"__import__('pathlib').Path({str(tmp_path / 'new')!r})") == ""
    assert kernel.run("%sutro_cache path").text.strip() == str(tmp_path / "new")


def test_a_folder_is_not_made_before_it_is_needed(kernel, config, tmp_path):
    assert config("cache_dir", repr(str(tmp_path / "a" / "b"))) == ""
    assert list(tmp_path.iterdir()) == []


AS_SOMEBODY_ELSE = """
import os, sys
from sutro_magic.magics.settings import no_folder
if os.geteuid() == 0:  # whom nothing stops
    os.setgid(65534); os.setuid(65534)
for folder in sys.argv[1:]:
    print(repr(no_folder(folder)))
"""


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_a_folder_that_can_only_be_read_is_accepted_since_it_serves():
    with tempfile.TemporaryDirectory(prefix="sutro-magic-test-") as name:  # others may not enter pytest's own
        top, read_only, closed = Path(name), Path(name) / "read_only", Path(name) / "closed"
        read_only.mkdir(0o555)
        closed.mkdir(0o000)
        top.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", AS_SOMEBODY_ELSE, str(read_only), str(read_only / "new"), str(closed)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        accepted, not_made, not_read = done.stdout.splitlines()
        assert accepted == "''"
        assert f"cannot be made in {read_only} (Permission denied)" in not_made
        assert f"{closed} cannot be read" in not_read


def test_settings_survive_reloading_and_what_was_refused_does_not(kernel, config):
    config("page_length", "7")
    config("threads", "'many'")
    config("fromat", "'csv'")
    reply = kernel.run("%reload_ext sutro_magic\n%reload_ext sutro_magic")
    assert reply.ok and reply.text == ""
    assert kernel.value(f"{MAGICS}.page_length, {MAGICS}.threads") == "(7, 0)"


FROM_A_FILE = """
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
import sys
config = Config()
config.SutroMagics.cache_dir = {folder!r}
config.SutroMagics.threads = 1
config.SutroMagics.memory_limit = "300MB"
config.SutroMagics.debug = True
config.SutroMagics.format = "xml"
shell = InteractiveShell.instance(config=config)
shell.run_line_magic("load_ext", "sutro_magic")
assert not {{"duckdb", "pyarrow", "requests", "pandas"}} & set(sys.modules)
magics = shell.magics_manager.registry["SutroMagics"]
from sutro_magic.query import duckdb_engine
from sutro_magic import errors
assert errors.SutroError.debug
assert str(magics.session.cache.directory) == {folder!r}
cursor = duckdb_engine._database.cursor()
print(magics.format, *cursor.execute("select current_setting('threads'), current_setting('memory_limit')").fetchone())
shell.run_line_magic("unload_ext", "sutro_magic")
assert duckdb_engine._database._connection is None and not errors.SutroError.debug
print(cursor.execute("select 1").fetchone())  # tables that are still there go on
"""


def test_settings_from_a_configuration_file_hold_and_cost_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FROM_A_FILE.format(folder=str(tmp_path / "cache"))],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, facts, alive = done.stdout.splitlines()
    assert said.startswith("SutroMagics.format cannot be 'xml'") and "stays 'parquet'" in said
    assert facts.startswith("parquet 1 286") and alive == "(1,)"


ARROW = """
from IPython.core.interactiveshell import InteractiveShell
import pyarrow as pa
found = pa.cpu_count(), pa.io_thread_count()
pa.set_cpu_count(3)
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "sutro_magic")
shell.run_line_magic("config", "SutroMagics.threads = 1")
shell.run_line_magic("sutro_demo", "")
shell.run_line_magic("sutro_results", "job_12345")
print(pa.cpu_count())
shell.run_line_magic("unload_ext", "sutro_magic")
print((pa.cpu_count(), pa.io_thread_count()) == (3, found[1]))
"""


def test_unloading_gives_arrow_its_threads_back():
    done = subprocess.run(
        [sys.executable, "-c", ARROW], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines()[-2:] == ["1", "True"], done.stdout + done.stderr
