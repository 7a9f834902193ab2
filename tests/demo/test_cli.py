"""``python -m sutro_magic.demo`` as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests

COMMAND = [sys.executable, "-m", "sutro_magic.demo"]
LINE = re.compile(r"SUTRO_API_URL=(http://127\.0\.0\.1:\d+) SUTRO_API_KEY=(sk_demo_\S+)\n")


@contextmanager
def running(tmp_path, *arguments):
    environment = os.environ | {"TMPDIR": str(tmp_path), "TEMP": str(tmp_path)}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        url, key = LINE.fullmatch(process.stdout.readline()).groups()
        yield process, url, {"Authorization": f"Key {key}"}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_line_then_a_clean_end(tmp_path, number):
    with running(tmp_path) as (process, url, headers):
        reply = requests.get(f"{url}/jobs/job_12345/results?result_format=csv", headers=headers, timeout=10)
        assert reply.status_code == 200
        assert requests.get(f"{url}/v1/auth/check", timeout=10).status_code == 401
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
        assert (process.returncode, stdout, stderr) == (0, "", "")
        assert not list(tmp_path.iterdir())


def test_port_and_fault(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(tmp_path, "--port", str(port), "--fault", "503") as (_, url, headers):
        assert url.endswith(f":{port}")
        path = f"{url}/v1/jobs/job_12345/results?format=csv"
        assert requests.get(path, headers=headers, timeout=10).status_code == 503
        requests.post(f"{url}/demo/fault", json={"name": None}, headers=headers, timeout=10)
        assert requests.get(path, headers=headers, timeout=10).status_code == 200


def test_a_port_in_use_is_one_clear_message():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--port", "99999"], ["--port", "x"], ["--fault", "slwo"], ["--por", "0"]]
)
def test_bad_arguments(arguments):
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    if "slwo" in arguments:
        assert "'slow'" in done.stderr


def test_help_lists_the_faults():
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=30, check=True)
    assert "wrong_etag_206" in done.stdout
