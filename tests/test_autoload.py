"""What `pip install` gives a user: the magics are there in the first cell, and nobody pays for them before.

The wheel is built and installed, with its dependencies, into one fresh environment; real kernels and real
terminal sessions of that environment are asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import IPython
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first test waits for pip

ROOT = Path(__file__).parents[1]
STARTUP_FILE = ROOT / "jupyter-config/ipython/startup/50-sutro-magic.py"
MAGICS = [
    f"sutro_{name}"
    for name in (
        "browse",
        "cache",
        "compare",
        "demo",
        "help",
        "jobs",
        "login",
        "profile",
        "results",
        "status",
        "wait",
    )
]
NOT_FOUND = "Line magic function `%sutro_results` not found."
ENVIRON = dict(os.environ)  # before a fixture changes it: pip keeps its settings and its downloads
# What would carry the developer's own packages, settings and keys into the fresh environment.
PERSONAL = ("IPYTHON", "JUPYTER", "PYTHON", "SUTRO_", "VIRTUAL_ENV", "XDG_")


# The environment, and what runs in it -------------------------------------------------------------


def run(*command, may_fail=False, **options):
    done = subprocess.run(
        [str(part) for part in command],
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,
    )
    assert may_fail or done.returncode == 0, done.stdout
    return done.stdout


@dataclass(frozen=True)
class Kernel:
    """A running kernel; `log` is what its process wrote outside of cells."""

    client: Any
    log: Path

    def run(self, code):
        """Run a cell; return its status and everything it showed."""
        texts = []

        def collect(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] == "error":
                texts.extend(content["traceback"])
            elif message["msg_type"] in {"display_data", "execute_result"}:
                texts.append(content["data"]["text/plain"])

        reply = self.client.execute_interactive(code, output_hook=collect, timeout=60, allow_stdin=False)
        pages = [page["data"]["text/plain"] for page in reply["content"].get("payload", ()) if "data" in page]
        return reply["content"]["status"], "\n".join([*texts, *pages])

    def completions(self, code):
        return self.client.complete(code, reply=True, timeout=60)["content"]["matches"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty home for what runs in it."""

    prefix: Path
    home: Path

    @property
    def python(self):
        return self.prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def startup_file(self):
        return self.prefix / "etc/ipython/startup" / STARTUP_FILE.name

    def variables(self, **extra):
        inherited = {name: value for name, value in ENVIRON.items() if not name.startswith(PERSONAL)}
        return inherited | {"HOME": str(self.home), "USERPROFILE": str(self.home)} | extra

    def pip(self, *args):
        variables = {name: value for name, value in ENVIRON.items() if not name.startswith("PYTHON")}
        return run(
            self.python, "-m", "pip", "--disable-pip-version-check", *args, env=variables, cwd=self.home
        )

    def terminal(self, code, **extra):
        """Run one line as a terminal session's first and only one; return what it wrote."""
        command = (self.python, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code)
        return run(*command, may_fail=True, env=self.variables(**extra), cwd=self.home)

    @contextlib.contextmanager
    def kernel(self, **extra):
        spec = self.home / "kernels/fresh/kernel.json"
        spec.parent.mkdir(parents=True, exist_ok=True)
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": argv, "display_name": "fresh", "language": "python"}))
        specs = KernelSpecManager(kernel_dirs=[str(spec.parents[1])])
        manager = KernelManager(kernel_spec_manager=specs, kernel_name="fresh")
        log = self.home / "kernel.log"
        with log.open("w") as out:
            manager.start_kernel(env=self.variables(**extra), cwd=str(self.home), stdout=out, stderr=out)
        client = manager.client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            yield Kernel(client, log)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, env=ENVIRON)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=True)
    (folder / "home").mkdir()
    environment = Environment(folder / "venv", folder / "home")
    environment.pip("install", "--quiet", wheel, "ipykernel")
    yield environment
    shutil.rmtree(folder)  # it is large


@pytest.fixture
def uninstalled(fresh, wheel):
    """Take the package out for one test."""
    fresh.pip("uninstall", "-y", "sutro-magic")
    yield fresh
    fresh.startup_file.unlink(missing_ok=True)
    fresh.pip("install", "--quiet", "--no-deps", wheel)


# Installed ----------------------------------------------------------------------------------------


def test_the_file_lands_where_ipython_looks(fresh):
    assert fresh.startup_file.read_text() == STARTUP_FILE.read_text()


def test_the_first_cell_of_a_notebook_may_use_a_magic(fresh):
    with fresh.kernel() as kernel:
        status, text = kernel.run("%sutro_results --help")
        assert status == "ok", text
        assert "JOB_ID" in text and "--format" in text


def test_a_terminal_session_may_use_a_magic_at_once(fresh):
    text = fresh.terminal("%sutro_results --help")
    assert "JOB_ID" in text and "--format" in text


def test_every_magic_is_delivered_by_the_package(fresh):
    with fresh.kernel() as kernel:
        offered = kernel.completions("%sutro_")
        assert sorted(offered) == sorted([*(f"%{name}" for name in MAGICS), "%%sutro_sql"])
        kernel.run("%sutro_results --help")
        status, text = kernel.run(
            "from IPython.core.magic import MagicsManager\n"
            "kinds = get_ipython().magics_manager.magics.values()\n"
            "print(*sorted(n for k in kinds for n, f in k.items() if n.startswith('sutro_') and 'Lazy' not in type(f).__name__))"
        )
        assert status == "ok", text
        assert {*MAGICS, "sutro_sql"} <= set(text.split())


def test_the_first_cell_of_a_notebook_may_be_sql(fresh):
    with fresh.kernel() as kernel:
        status, text = kernel.run("%%sutro_sql --name x --as arrow\nselect 7 as seven")
        assert status == "ok", text
        assert kernel.run("print(x.to_pylist())") == ("ok", "[{'seven': 7}]\n")


def test_the_first_tab_of_a_notebook_knows_the_flags(fresh):
    with fresh.kernel() as kernel:
        assert kernel.completions("x = %sutro_results --fo") == ["--format"]
        assert kernel.run("%unload_ext sutro_magic") == ("ok", "")
        assert "--format" not in kernel.completions("x = %sutro_results --fo")


def test_the_guide_is_installed_with_the_package(fresh):
    text = fresh.terminal("%sutro_help cache")
    assert text.startswith("The cache\n====") and "Traceback" not in text


def test_load_ext_works_as_ever(fresh):
    with fresh.kernel() as kernel:
        assert kernel.run("%load_ext sutro_magic") == ("ok", "")
        status, text = kernel.run("%sutro_results --help")
        assert status == "ok" and "--format" in text


def test_unload_ext_takes_back_what_autoload_gave(fresh):
    with fresh.kernel() as kernel:
        kernel.run("%sutro_results --help")
        assert kernel.run("%unload_ext sutro_magic") == ("ok", "")
        status, text = kernel.run("%sutro_results --help")
        assert status == "error" and NOT_FOUND in text
        kernel.run("%load_ext sutro_magic")
        assert kernel.run("%sutro_results --help")[0] == "ok"


def test_the_only_cell_magic_that_is_offered_is_one(fresh):
    with fresh.kernel() as kernel:
        assert kernel.completions("%%sutro") == ["%%sutro_sql"]
        _, text = kernel.run(
            "print([n for n in get_ipython().magics_manager.magics['cell'] if 'sutro' in n])"
        )
        assert text.strip() == "['sutro_sql']"


def test_a_kernel_start_imports_nothing_of_it(fresh):
    with fresh.kernel() as kernel:
        _, text = kernel.run(
            "import sys; print({m.partition('.')[0] for m in sys.modules} "
            "& {'sutro_magic', 'pandas', 'pyarrow', 'ipywidgets', 'itables', 'requests'})"
        )
        assert text.strip() == "set()"
        assert "Traceback" not in kernel.log.read_text()


def test_the_user_namespace_stays_clean(fresh):
    with fresh.kernel() as kernel, fresh.kernel(SUTRO_MAGIC_AUTOLOAD="0") as other:
        names = kernel.run("print(sorted(globals()))")
        assert names == other.run("print(sorted(globals()))")
        assert "sutro" not in names[1]
        assert kernel.run("%who") == ("ok", "Interactive namespace is empty.\n")


def test_the_variable_switches_it_off_but_not_load_ext(fresh):
    with fresh.kernel(SUTRO_MAGIC_AUTOLOAD="0") as kernel:
        status, text = kernel.run("%sutro_results --help")
        assert status == "error"
        assert NOT_FOUND in text
        assert "Traceback" not in text
        kernel.run("%load_ext sutro_magic")
        assert kernel.run("%sutro_results --help")[0] == "ok"
    assert NOT_FOUND in fresh.terminal("%sutro_results --help", SUTRO_MAGIC_AUTOLOAD="0")


# Uninstalled, and other ways to install ---------------------------------------------------------------


def test_uninstall_takes_the_file_along(uninstalled):
    assert not uninstalled.startup_file.exists()
    assert NOT_FOUND in uninstalled.terminal("%sutro_results --help")


@pytest.mark.parametrize(
    "leaves_folder", [False, True], ids=["package gone", "empty folder of its name left"]
)
def test_a_file_left_behind_is_harmless(uninstalled, leaves_folder):
    uninstalled.startup_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(STARTUP_FILE, uninstalled.startup_file)
    remains = uninstalled.home / "sutro_magic"  # the kernel's working folder is on its path
    if leaves_folder:
        remains.mkdir()
    try:
        with uninstalled.kernel() as kernel:
            status, text = kernel.run("%sutro_results --help")
            assert status == "error"
            assert NOT_FOUND in text
            assert "Traceback" not in text + kernel.log.read_text()
        text = uninstalled.terminal("%sutro_results --help")
        assert NOT_FOUND in text
        assert "Traceback" not in text
    finally:
        if leaves_folder:
            remains.rmdir()


def test_an_editable_install_brings_the_file_too(uninstalled):
    uninstalled.pip("install", "--quiet", "--no-deps", "--editable", ROOT)
    assert uninstalled.startup_file.read_text() == STARTUP_FILE.read_text()
    assert "--format" in uninstalled.terminal("%sutro_results --help")


# The file by itself ---------------------------------------------------------------------------------


def startup(monkeypatch, shell):
    """Run the file in front of this shell; return the names it leaves."""
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    return {name for name in runpy.run_path(str(STARTUP_FILE)) if not name.startswith("__")}


def shell_with(register_lazy):
    return SimpleNamespace(magics_manager=SimpleNamespace(register_lazy=register_lazy))


def test_outside_of_ipython_nothing_happens(monkeypatch):
    assert startup(monkeypatch, None) == set()


def test_it_tells_the_kind_where_ipython_takes_it(monkeypatch):
    old, new = [], []
    startup(monkeypatch, shell_with(lambda name, module: old.append((name, module))))
    startup(
        monkeypatch,
        shell_with(lambda name, module, magic_kind="line_cell": new.append((name, module, magic_kind))),
    )
    assert sorted(old) == sorted((name, "sutro_magic") for name in [*MAGICS, "sutro_sql"])
    kinds = [*((name, "line") for name in MAGICS), ("sutro_sql", "cell")]
    assert sorted(new) == sorted((name, "sutro_magic", kind) for name, kind in kinds)


def test_no_failure_reaches_the_kernel(monkeypatch):
    def broken(name, module):
        raise RuntimeError(name)

    for shell in (shell_with(broken), SimpleNamespace()):
        assert startup(monkeypatch, shell) == set()
