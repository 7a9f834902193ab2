"""The key and signed URLs are found nowhere: everything that a session leaves behind is searched for them."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import nbclient
import nbformat
import pytest
import requests

from sutro_magic import Session, errors, limits
from sutro_magic.api.redaction import LOGGERS
from sutro_magic.api.retry import RetryPolicy
from sutro_magic.demo import DemoService
from sutro_magic.models import ResultsRequest

pytestmark = pytest.mark.slow

SIGNATURE = "X-Amz-Signature"
ANSI = re.compile(r"\x1b\[[0-9;]*m")

SET_UP = """
import logging, pathlib, sys
from sutro_magic import Session
from sutro_magic.api.retry import RetryPolicy
log_file = pathlib.Path.home() / "debug.log"
logging.basicConfig(filename=log_file, filemode="w", level=logging.DEBUG, force=True)
for name in [*logging.root.manager.loggerDict]:
    logging.getLogger(name).setLevel(logging.DEBUG)
magics = get_ipython().magics_manager.registry["SutroMagics"]
magics.session.client.retry = RetryPolicy(tries=2, seconds=2, first_pause=0.01)
magics.session.jobs(limit=1)
"""

CHAINED = """
try:
    get_ipython().run_line_magic("sutro_results", "{line}")
except Exception as error:
    raise RuntimeError("a mistake of the user's own, on top") from error
"""


class Trail:
    """All that was seen: messages, replies, files."""

    def __init__(self, kernel, *needles):
        self.kernel, self.needles = kernel, needles
        self.seen = []

    def run(self, code, **options):
        reply = self.kernel.run(code, **options)
        self.seen.append(json.dumps(reply.raw, default=str, ensure_ascii=False))
        return reply

    def assert_clean(self, *folders):
        for text in self.seen:
            clean = ANSI.sub("", text.replace("\\u001b", "\x1b"))
            found = [(needle, clean[:300]) for needle in self.needles if needle in clean]
            assert not found
        for folder in folders:
            for path in Path(folder).rglob("*"):
                data = path.read_bytes() if path.is_file() else b""
                assert not [(needle, path) for needle in self.needles if needle.encode() in data]


@pytest.fixture
def trail(kernel, demo, monkeypatch):
    """A kernel that logs everything, and a list of what it said."""
    made = Trail(kernel, demo.api_key, SIGNATURE)
    take = kernel.client.get_shell_msg

    def get_shell_msg(**options):
        reply = take(**options)
        made.seen.append(json.dumps(reply["content"], default=str, ensure_ascii=False))
        return reply

    monkeypatch.setattr(kernel.client, "get_shell_msg", get_shell_msg)
    assert made.run(SET_UP).ok
    yield made
    demo.clear_faults()
    home = kernel.value("pathlib.Path.home()")
    kernel.run("%xmode Context\n%config SutroMagics.debug = False\nlogging.shutdown()")
    made.assert_clean(home, kernel.run("%sutro_cache path").text.strip())
    log = (Path(home) / "debug.log").read_text()
    assert '"GET /' in log, "the log was on"


def test_work_that_goes_well_leaves_no_secret(trail, demo):
    for line in (
        "%sutro_results job_12345 --inputs",
        "%sutro_results job_12345 --format csv --refresh --name df",
        "%sutro_results job_12345 --format json --refresh --as polars",
        "%sutro_jobs",
        "%sutro_status job_12345",
        "%sutro_wait job_12345",
        "%sutro_cache\n%sutro_cache info job_12345",
        "%config SutroMagics",
    ):
        assert trail.run(line).ok
    reply = trail.run(
        "r = %sutro_results job-abc123\n"
        "s, c = magics.session, magics.session.client\n"
        "print(r, r.job, r.path, r.provenance, vars(r), s, c, s.credentials, vars(c), vars(c._auth()))"
    )
    assert reply.ok and "Secret('***')" in reply.text
    log = Path(trail.kernel.value("log_file")).read_text()
    assert "/storage/job_12345/" in log and ".parquet?… HTTP" in log


@pytest.mark.parametrize("mode", ["Context", pytest.param("Verbose", marks=pytest.mark.slow), "debug"])
def test_no_error_of_the_service_shows_a_secret(trail, demo, mode):
    trail.run("%config SutroMagics.debug = True" if mode == "debug" else f"%xmode {mode}")
    failed = 0
    for fault, said in DemoService.FAULTS.items():
        option = re.search(r"`(\w+)` \(\d+\)", said)
        demo.set_fault(
            fault, **({option[1]: 0} if option and option[1] in {"seconds", "retry_after"} else {})
        )
        form = "json" if "json" in fault else "csv" if "csv" in fault else "parquet"
        line = f"job_12345 --refresh --quiet --format {form}"
        reply = trail.run(CHAINED.format(line=line) if mode == "Verbose" else f"%sutro_results {line}")
        failed += not reply.ok
    assert failed > 12


HTTP_BUG = """
import requests
def send(adapter, request, **options):
    url, headers = request.url, dict(request.headers)
    said = "" if {kind} is KeyboardInterrupt else f"{{url}} {{headers}}"
    raise {kind}(said)
kept, requests.adapters.HTTPAdapter.send = requests.adapters.HTTPAdapter.send, send
"""
MEND_HTTP = "requests.adapters.HTTPAdapter.send = kept"


@pytest.mark.parametrize("kind", ["RuntimeError", "requests.ConnectionError", "OSError", "KeyboardInterrupt"])
def test_a_bug_in_the_http_library_shows_no_secret_even_with_local_variables(trail, kind):
    trail.run("%xmode Verbose")
    trail.run(HTTP_BUG.format(kind=kind))
    for line in ("%sutro_jobs", "%sutro_status job_12345", "%sutro_results job_12345 --refresh", "s.jobs()"):
        reply = trail.run("s = Session()\ns.client.retry = magics.session.client.retry\n" + line)
        assert not reply.ok
    trail.run(MEND_HTTP)
    assert trail.run("%sutro_results job_12345 --refresh").ok


@pytest.mark.parametrize(
    "target",
    ["sutro_magic.download.source.fetch", "sutro_magic.download.source.Transfer", "sutro_magic.download.transfer.strong_etag", "sutro_magic.api.client.SignedArtifact",
     "sutro_magic.api.client.Client._raise_for_status", "sutro_magic.formats.normalize.canonicalize", "sutro_magic.api.client.Client.open_artifact"],
)  # fmt: skip
def test_a_bug_of_ours_shows_no_secret_even_with_local_variables(trail, target):
    module, _, name = target.rpartition(".")
    owner = module if not module.endswith("Client") else "sutro_magic.api.client"
    holder = "sys.modules[owner]" + (".Client" if owner != module else "")
    trail.run("%xmode Verbose")
    trail.run(
        f"owner = {owner!r}\n"
        "def broken(*arguments, **options):\n    raise ValueError('a bug')\n"
        f"kept = {holder}.{name}\n{holder}.{name} = broken"
    )
    magic = trail.run("%sutro_results job_12345 --refresh")
    # Without a magic in between, the whole traceback shows, local variables too.
    reply = trail.run("s = Session()\ns.results('job_12345', refresh=True)")
    trail.run(f"{holder}.{name} = kept")
    shown = ANSI.sub("", reply.traceback)
    assert magic.ename == "InternalError" and len(magic.traceback.splitlines()) == 2
    assert reply.ename == "ValueError" and "session.py" in shown and "request = " in shown


def test_interrupting_a_silent_service_shows_no_secret_even_with_local_variables(trail):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        trail.run(
            f"%xmode Verbose\nimport os\ns = Session(api_url={url!r}, api_key=os.environ['SUTRO_API_KEY'])"
        )

        def interrupt():
            connection, _ = silent.accept()
            connection.recv(100)
            trail.kernel.manager.interrupt_kernel()
            connection.recv(10_000)
            connection.close()

        stopper = threading.Thread(target=interrupt)
        stopper.start()
        reply = trail.run("s.jobs()")
        stopper.join()
    assert reply.ename == "KeyboardInterrupt" and "transport.py" in ANSI.sub("", reply.traceback)


def test_logging_in_shows_no_key(trail, demo):
    config = Path(trail.kernel.value("pathlib.Path.home()")) / ".sutro" / "config.json"
    trail.needles += ("sk_wrong_one", "sk with spaces")
    trail.run("%xmode Verbose")
    for key, works in (("sk_wrong_one", False), ("sk with spaces", False), (demo.api_key, True)):
        assert trail.run(f"%sutro_login --url {demo.url}", answer=key).ok is works
    assert trail.run("%sutro_login --save", answer=demo.api_key).ok
    assert demo.api_key in config.read_text()  # the one place it belongs
    config.unlink()
    trail.run("magics.session.use(None)")


@pytest.mark.parametrize("given", ["cache_dir=123", "cache_dir=b'x'", "cache_dir='a' * 5000"])
def test_a_session_that_cannot_be_made_shows_no_key_even_with_local_variables(trail, given):
    trail.run("%xmode Verbose\n%config SutroMagics.debug = True\nimport os")
    reply = trail.run(f"Session('https://acme.example', os.environ['SUTRO_API_KEY'], {given})\n1 / 0")
    assert reply.ename == "ZeroDivisionError" if "5000" in given else reply.ename == "ArgumentError"


@pytest.mark.parametrize("given", [{"api_url": 5}, {"api_key": b"sk_mine"}, {"cache_dir": 1.5}])
def test_what_a_session_cannot_be_made_of_is_said(given):
    with pytest.raises(errors.ArgumentError, match=next(iter(given))) as caught:
        Session(**given)
    assert "sk_mine" not in str(caught.value)


@pytest.mark.slow
def test_a_saved_notebook_holds_no_secret(demo, tmp_path, monkeypatch):
    for name, value in {"SUTRO_API_URL": demo.url, "SUTRO_API_KEY": demo.api_key}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = [
        "import logging, sys\nlogging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\nlogging.captureWarnings(True)",
        "%load_ext sutro_magic\n%xmode Verbose",
        "%sutro_results job_12345 --inputs",
        "%sutro_results job-nope",
        "%sutro_jobs",
        "from sutro_magic.download import source\nsource.fetch = None\n%sutro_results job-abc123",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, allow_errors=True).execute()
    path = tmp_path / "saved.ipynb"
    nbformat.write(notebook, path)
    text = ANSI.sub("", path.read_text().replace("\\u001b", "\x1b"))
    assert '"GET /storage/job_12345/' in text.replace('\\"', '"'), "the log is in the notebook"
    assert "TypeError" in text and "JobNotFoundError" in text
    assert demo.api_key not in text and SIGNATURE not in text


# --- the library itself ---------------------------------------------------------------------------


def test_requests_of_others_are_logged_as_they_are(session, demo, caplog):
    caplog.set_level(logging.DEBUG)
    session.results("job_12345")
    requests.get(f"{demo.url}/v1/jobs/nope?mine=1", timeout=5)
    said = [record.getMessage() for record in caplog.records if record.name in LOGGERS]
    assert any("?mine=1" in text for text in said)
    assert any("/storage/" in text for text in said) and not any(SIGNATURE in text for text in said)
    Session(api_url=demo.url, api_key=demo.api_key).jobs()
    for name in LOGGERS:
        assert len([f for f in logging.getLogger(name).filters if "sutro" in type(f).__module__]) == 1


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers as its server says and keeps what it was sent."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.answer(self)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Start small services, each with an answer of its own."""
    started = []

    def start(answer):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.answer, server.seen = answer, []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server, f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in started:
        server.shutdown()
        server.server_close()
        thread.join()


def session_with(url, tmp_path):
    made = Session(api_url=url, api_key="sk_mine", cache_dir=tmp_path)
    made.client.retry = RetryPolicy(tries=2, seconds=2, first_pause=0.01)
    return made


def test_a_service_that_repeats_the_key_in_its_error_is_not_quoted(serve, tmp_path):
    _, url = serve(lambda h: (400, {}, json.dumps({"detail": f"bad: {h.headers['Authorization']}"}).encode()))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.ServiceError, match=r"bad: Key \*\*\*") as caught:
        session.results("job-x", format="csv")
    assert "sk_mine" not in f"{caught.value!r} {caught.value} {caught.value._render_traceback_()}"
    session.close()


@pytest.mark.parametrize("before", range(180, 196, 4))
def test_a_key_at_the_end_of_what_is_quoted_is_not_quoted_in_part(serve, tmp_path, before):
    _, url = serve(lambda _: (400, {}, json.dumps({"detail": "x" * before + " key_of_mine_0123"}).encode()))
    session = Session(api_url=url, api_key="key_of_mine_0123", cache_dir=tmp_path)
    with pytest.raises(errors.ServiceError, match="xxx") as caught:
        session.results("job-x", format="csv")
    assert "key" not in caught.value.message.rpartition("x")[2]
    session.close()


SIGNED = f"https://user:hush@bucket.example/in.csv?{SIGNATURE}=deadbeef"


def test_an_address_in_the_words_of_the_service_is_quoted_without_what_is_secret(serve, tmp_path):
    failed = {"job_id": "job-x", "status": "FAILED", "failure_reason": {"message": f"no {SIGNED} there"}}
    _, url = serve(
        lambda h: (
            (409, {}, json.dumps({"detail": f"cannot read {SIGNED} yet"}).encode())
            if "results" in h.path
            else (200, {}, json.dumps({"job": failed}).encode())
        )
    )
    session = session_with(url, tmp_path)
    with pytest.raises(errors.JobFailedError, match=r"no https://\*\*\*@bucket\.example/in\.csv\?… there"):
        session.wait("job-x")
    with pytest.raises(errors.ServiceError, match=r"read https://\*\*\*@bucket\.example/in\.csv\?… yet"):
        session.client.open_results(ResultsRequest(job_id="job-x"))
    assert SIGNATURE not in repr(session.job("job-x"))
    session.close()


def test_a_password_in_an_address_is_not_in_the_error(serve, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    address = f"http://user:hush@127.0.0.1:{port}/x?sig=1"
    _, url = serve(lambda _: (200, {}, json.dumps({"urls": {"get": address}}).encode()))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.ServiceUnreachableError, match=rf"127\.0\.0\.1:{port} cannot be") as caught:
        session.results("job-x")
    assert "hush" not in str(caught.value) and "user" not in str(caught.value)
    session.close()


@pytest.mark.parametrize(
    "text", ["/" * 100_000, "://" * 50_000, "?" * 100_000, "Key " * 50_000, "a@" * 90_000]
)
def test_secrets_are_looked_for_in_time_that_grows_with_the_text(text):
    begin = time.process_time()
    errors.without_secrets(text)
    assert time.process_time() - begin < 0.5


def test_a_reply_that_the_http_library_finds_odd_is_logged_without_its_signature(serve, tmp_path, caplog):
    _, url = serve(
        lambda h: (
            (200, {}, json.dumps({"urls": {"get": f"{url}/object?{SIGNATURE}=deadbeef"}}).encode())
            if "results-url" in h.path
            else (200, {"X-Odd": "1\r\na line that is no header"}, b"{}")
        )
    )
    session = session_with(url, tmp_path)
    with pytest.raises(errors.SutroError):
        session.results("job-x")
    session.close()
    said = [record.getMessage() for record in caplog.records if record.name == "urllib3.connection"]
    assert any("/object?…" in text for text in said) and "deadbeef" not in caplog.text


def test_a_redirect_to_another_origin_does_not_carry_the_key(serve, tmp_path):
    other, other_url = serve(lambda _: (404, {}, b"{}"))
    first, url = serve(lambda _: (307, {"Location": f"{other_url}/elsewhere"}, b""))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.SutroError):
        session.results("job-x", format="csv")
    assert {key for _, key in first.seen} == {"Key sk_mine"}
    assert other.seen and {key for _, key in other.seen} == {None}
    session.close()


def test_a_redirect_within_the_origin_carries_the_key(serve, tmp_path):
    jobs = json.dumps({"jobs": [{"job_id": "job-x"}]}).encode()
    server, url = serve(
        lambda h: (
            (200, {}, jobs) if h.path == "/moved?cursor=1" else (307, {"Location": "/moved?cursor=1"}, b"")
        )
    )
    session = session_with(url, tmp_path)
    assert [job.job_id for job in session.jobs()] == ["job-x"]
    assert [key for _, key in server.seen] == ["Key sk_mine"] * 2
    session.close()


@pytest.mark.parametrize("route", ["results", "results-url", "list-jobs"])
@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("file:///etc/passwd", "starts with 'file' instead of https"),
    ],
)
def test_a_redirect_of_the_service_leads_nowhere_a_download_may_not_lead(
    serve, tmp_path, route, location, why
):
    _, url = serve(lambda h: (302, {"Location": location}, b"") if route in h.path else (404, {}, b"{}"))
    session = session_with(url, tmp_path)
    use = session.jobs if route == "list-jobs" else session.results
    with pytest.raises(errors.ServiceError, match=rf"{why}.*not followed"):
        use(*(() if route == "list-jobs" else ("job-x", "json" if route == "results" else "parquet")))
    assert not session.cache.entries()
    session.close()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "100"}, b"<html>cut"),
        ({"Content-Length": "100"}, b'{"detail": "cut'),
        ({"Content-Encoding": "gzip"}, b"not gzip"),
        ({}, b"[" * 100_000),
    ],
)
def test_an_error_that_is_cut_or_garbled_is_still_one_of_ours(serve, tmp_path, headers, body):
    _, url = serve(lambda _: (400, headers, body))
    session = session_with(url, tmp_path)
    for use in (lambda: session.results("job-x", format="csv"), session.jobs):
        with pytest.raises(errors.ServiceError):
            use()
    session.close()


@pytest.mark.parametrize(
    "location", ["http://[::1", f"http://{'a' * 300}.example/", "http://x:99999/", "/again"]
)
def test_a_redirect_to_nowhere_is_one_of_our_errors(serve, tmp_path, location):
    _, url = serve(lambda _: (302, {"Location": location}, b""))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.ServiceUnreachableError):
        session.jobs()
    session.close()


def test_an_answer_that_is_no_results_is_told_as_it_was(serve, tmp_path):
    _, url = serve(lambda h: (204, {}, b"") if "results" in h.path else (404, {}, b"{}"))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.SutroError, match="the answer was 204 instead of the results"):
        session.results("job-x", format="csv")
    session.close()


def test_where_a_redirect_leads_is_in_no_frame_of_the_error(serve, tmp_path):
    _, url = serve(lambda _: (302, {"Location": "http://[::1/SIGNED-ADDRESS"}, b""))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.ServiceUnreachableError) as caught:
        session.jobs()
    frames = traceback.walk_tb(caught.value.__traceback__)
    ours = [frame for frame, _ in frames if "sutro_magic" in frame.f_code.co_filename]
    assert ours and all("SIGNED-ADDRESS" not in repr(frame.f_locals) for frame in ours)
    session.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_short_reply_that_is_long_is_refused_early(serve, tmp_path, monkeypatch, packed):
    monkeypatch.setattr(limits, "MAX_REPLY_BYTES", 1 << 20)
    body = json.dumps({"jobs": [], "more": "a" * (3 << 20)}).encode()
    headers = {"Content-Encoding": "gzip"} if packed else {"Content-Length": str(100 << 30)}
    _, url = serve(lambda _: (200, headers, gzip.compress(body) if packed else body))
    session = session_with(url, tmp_path)
    with pytest.raises(errors.ServiceError, match="more than 1 MB where a short reply was expected"):
        session.jobs()
    session.close()


@pytest.mark.parametrize("route", ["/list-jobs", "/object"])
def test_what_a_redirect_has_to_say_is_not_read(serve, tmp_path, route):
    over, waited = threading.Event(), []

    def answer(handler):
        if handler.path.partition("?")[0].endswith(route):
            handler.wfile.write(b"HTTP/1.0 302 Found\r\nLocation: /moved?sig=1\r\n\r\nand so on")
            waited.append(over.wait(5))
        if handler.path == "/moved?sig=1":
            over.set()
        return 200, {}, json.dumps({"jobs": [], "urls": {"get": f"{url}/object?sig=1"}}).encode()

    _, url = serve(answer)
    session = session_with(url, tmp_path)
    if route == "/list-jobs":
        assert session.jobs() == []
    else:
        assert session.results("job-x").num_rows == 0
    session.close()
    assert waited == [True], "the next address was asked while the body had not ended"


def test_the_key_is_in_no_command_line_and_no_environment_that_we_make(demo, tmp_path):
    code = (
        "import os, sys\nbefore = dict(os.environ)\nfrom sutro_magic import Session\n"
        "s = Session(sys.stdin.readline().strip(), sys.stdin.readline().strip())\n"
        "s.results('job_12345')\nassert dict(os.environ) == before\nprint(repr(s))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        input=f"{demo.url}\n{demo.api_key}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert demo.api_key not in done.stdout + done.stderr and SIGNATURE not in done.stderr
