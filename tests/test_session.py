"""Fetching over real HTTP: equal tables, one request where one is enough, and clear refusals."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import socket
import threading
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic import Session, errors
from sutro_magic.api.retry import RetryPolicy
from sutro_magic.models import JobStatus

QUICK = RetryPolicy(tries=3, seconds=10, first_pause=0.01)
FORMATS = ["parquet", "csv", "json"]
PAGE_OUTPUTS = [
    "The capital of France is Paris.",
    (
        "Quantum computing uses quantum mechanics principles to process information in ways that classical "
        "computers cannot..."
    ),
]


def result_requests(demo):
    return [path for _, path in demo.requests if "results" in path or "storage" in path]


# --- what arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", FORMATS)
def test_the_page_s_own_job_arrives_as_the_page_shows_it(session, wire):
    table = session.results("job-abc123", format=wire, inputs=True, logprobs=True).to_arrow()
    assert table.column_names == ["inputs", "outputs", "cumulative_logprobs"]
    assert table["outputs"].to_pylist() == PAGE_OUTPUTS
    assert table["inputs"].to_pylist()[0] == "What is the capital of France?"
    assert table["cumulative_logprobs"].to_pylist() == [-0.5234, -1.2456]
    assert table.schema.types == [pa.string(), pa.string(), pa.float64()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "job_id", ["job-demo-awkward", "job-demo-broken", "job-demo-films", "job-demo-empty"]
)
@pytest.mark.parametrize("extras", [{}, {"inputs": True}, {"inputs": True, "logprobs": True}])
def test_the_three_formats_give_equal_tables(session, job_id, extras):
    tables = [session.results(job_id, format=f, refresh=True, **extras).to_arrow() for f in FORMATS]
    assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


def test_embeddings_are_lists_and_come_equal_as_parquet_and_json(session):
    tables = [
        session.results("job-demo-vectors", format=f, refresh=True).to_arrow() for f in ("parquet", "json")
    ]
    assert pa.types.is_list(tables[0].schema.field("outputs").type)
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("wire", FORMATS)
def test_an_empty_job_is_an_empty_table(session, wire):
    results = session.results("job-demo-empty", format=wire)
    assert (results.num_rows, results.columns) == (0, ["outputs"])
    assert results.to_pandas().shape == (0, 1)


def test_a_job_is_found_by_prefix_and_by_name(session):
    by_prefix = session.results("job-demo-fil")
    assert by_prefix.job_id == "job-demo-films"
    assert session.results(by_prefix.job.name).job_id == "job-demo-films"
    assert session.job("job-demo-fil").job_id == "job-demo-films"


def test_an_ambiguous_prefix_names_the_candidates(session):
    with pytest.raises(errors.ArgumentError, match="job-demo-"):
        session.results("job-demo-")


# --- the cache ------------------------------------------------------------------------------------


def test_a_second_fetch_asks_the_service_for_nothing(session, demo):
    first = session.results("job-demo-films", inputs=True)
    demo.requests.clear()
    second = session.results("job-demo-films", inputs=True)
    assert not demo.requests
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.to_arrow().equals(first.to_arrow())
    assert second.job.name == first.job.name


@pytest.mark.parametrize("wire", FORMATS)
def test_an_entry_with_more_columns_serves_every_narrower_request(session, demo, wire):
    whole = session.results("job_12345", inputs=True, logprobs=True).to_arrow()
    demo.requests.clear()
    for inputs in (False, True):
        for logprobs in (False, True):
            got = session.results("job_12345", format=wire, inputs=inputs, logprobs=logprobs)
            assert got.to_arrow().equals(whole.select(got.columns))
            assert ("inputs" in got.columns, "cumulative_logprobs" in got.columns) == (inputs, logprobs)
    assert not demo.requests


def test_refresh_fetches_again(session, demo):
    session.results("job_12345")
    demo.requests.clear()
    assert not session.results("job_12345", refresh=True).from_cache
    assert result_requests(demo)


def test_another_key_or_deployment_never_sees_an_entry(demo, session, tmp_path):
    session.results("job_12345")
    stranger = Session(api_url=demo.url, api_key="sk_stranger", cache_dir=tmp_path / "cache")
    with pytest.raises(errors.AuthenticationError):
        stranger.results("job_12345")
    elsewhere = Session(
        api_url="https://elsewhere.invalid", api_key=demo.api_key, cache_dir=tmp_path / "cache"
    )
    elsewhere.client.retry = QUICK
    with pytest.raises(errors.ServiceUnreachableError):
        elsewhere.results("job_12345")


def test_types_lost_by_a_csv_come_back_with_the_next_parquet(session, demo):
    by_csv = session.results("job-demo-zoo", format="csv")
    demo.requests.clear()
    assert session.results("job-demo-zoo", format="csv").from_cache
    by_parquet = session.results("job-demo-zoo", format="parquet")
    assert not by_parquet.from_cache
    assert by_parquet.columns == by_csv.columns
    assert session.results("job-demo-zoo", format="csv").from_cache  # the better entry serves both


def test_lists_lost_by_a_csv_come_back_with_the_next_parquet(session):
    assert session.results("job-demo-vectors", format="csv").schema.types == [pa.string()]
    again = session.results("job-demo-vectors")
    assert not again.from_cache and pa.types.is_list(again.schema.field("outputs").type)


def test_a_damaged_entry_is_dropped_said_and_fetched_again(session):
    first = session.results("job_12345")
    data = first.path.read_bytes()
    first.path.write_bytes(data[: len(data) // 2])
    notices = []
    again = session.results("job_12345", on_notice=notices.append)
    assert len(notices) == 1 and "fetched again" in notices[0]
    assert not again.from_cache and again.num_rows == 2


# --- as data --------------------------------------------------------------------------------------


def test_every_type_holds_the_same_values(session):
    results = session.results("job-demo-films", inputs=True, unfold=False)
    outputs = results.to_arrow()["outputs"].to_pylist()
    assert results.to_pandas()["outputs"].tolist() == outputs
    assert results.to_polars()["outputs"].to_list() == outputs
    assert [row[1] for row in results.to_duckdb().fetchall()] == outputs
    assert results.to_dask().compute()["outputs"].tolist() == outputs
    assert results.to_polars().columns == results.to_duckdb().columns == results.columns
    assert list(results.to_dask().columns) == list(results.to_pandas().columns) == results.columns
    assert results.to_pandas().attrs["sutro_job"] == "job-demo-films"
    assert results.raw.to_arrow().equals(results.to_arrow())
    assert (len(results), results.head(3)["outputs"].to_pylist()) == (len(outputs), outputs[:3])


def test_the_path_is_the_artifact_as_the_service_made_it(session):
    results = session.results("job_12345", inputs=True)
    assert pq.read_schema(results.path).names == ["inputs", "job_12345"]


def test_a_bound_frame_can_be_written_to_and_outlives_the_cache(session):
    frame = session.results("job_12345", inputs=True, logprobs=True).to_pandas()
    session.cache.clear()
    frame.loc[0, "outputs"] = "changed"
    frame.loc[0, "cumulative_logprobs"] = 0.5
    assert frame["outputs"].tolist() == ["changed", PAGE_OUTPUTS[1]]


def test_a_results_outlives_its_replacement_by_a_wider_fetch(session):
    narrow = session.results("job_12345")
    before = narrow.to_arrow()
    session.results("job_12345", inputs=True, logprobs=True)
    assert narrow.to_arrow().equals(before)
    assert narrow.path.exists() and narrow.columns == ["outputs"]
    by_csv = session.results("job-demo-zoo", format="csv")
    session.results("job-demo-zoo", format="parquet")
    assert by_csv.num_rows == len(by_csv.to_pandas())


@pytest.mark.slow
def test_results_whose_file_is_gone_say_how_to_get_it_back(session):
    results = session.results("job_12345")
    session.cache.clear()
    for use in (
        results.to_arrow,
        results.to_pandas,
        results.to_dask,
        lambda: results.columns,
        lambda: results.path,
    ):
        with pytest.raises(errors.CacheError, match="no longer in the cache") as caught:
            use()
        assert 'session.results("job_12345")' in caught.value.hint


# --- jobs -----------------------------------------------------------------------------------------


def test_jobs_come_newest_first_and_can_be_narrowed(session):
    jobs = session.jobs()
    assert [j.created for j in jobs] == sorted((j.created for j in jobs), reverse=True)
    assert {"job_12345", "job-abc123"} <= {j.job_id for j in jobs}
    assert {j.status for j in session.jobs(status="failed")} == {JobStatus.FAILED}
    assert len(session.jobs(limit=3)) == 3 and session.jobs(limit=3).more
    assert [j.job_id for j in session.jobs(search="FILMS")] == ["job-demo-films"]
    assert "job_id" in session.jobs(limit=3).to_pandas().columns


@pytest.mark.parametrize("fault", ["lowercase_status", "flat_status"])
def test_older_spellings_of_statuses_are_understood(session, demo, fault):
    demo.set_fault(fault)
    assert session.job("job_12345").status is JobStatus.SUCCEEDED
    assert session.wait("job_12345", timeout=5).num_rows == 2


@pytest.mark.slow
def test_waiting_watches_a_queued_job_until_it_succeeds(session):
    seen = []
    job = session.wait("job-demo-queued", timeout=60, on_poll=lambda job: seen.append(job.status))
    assert job.status is JobStatus.SUCCEEDED
    assert seen[0] is not JobStatus.SUCCEEDED
    assert session.results("job-demo-queued").num_rows == job.num_rows


@pytest.mark.slow
def test_wait_true_waits_and_then_fetches(session):
    assert session.results("job-demo-queued", wait=True).num_rows > 0


@pytest.mark.parametrize(
    ("job_id", "error", "words"),
    [
        ("job-demo-failed", errors.JobFailedError, "failed"),
        ("job-demo-cancelled", errors.JobCancelledError, "cancelled"),
    ],
)
def test_waiting_for_a_job_that_ends_badly_says_how_it_ended(session, job_id, error, words):
    with pytest.raises(error, match=words):
        session.wait(job_id)


def test_waiting_gives_up_after_the_time_given(session):
    with pytest.raises(errors.WaitTimeoutError, match="still"):
        session.wait("job-demo-long", timeout=0.1)


# --- what bad input gets --------------------------------------------------------------------------

BAD_INPUT = [
    ("listed, but gone", "job_12345", "404", errors.JobNotFoundError, "no results for it"),
    ("unknown job", "job-nope", None, errors.JobNotFoundError, "has no job"),
    ("misspelled job", "job-demo-flims", None, errors.JobNotFoundError, 'Did you mean "job-demo-films"'),
    ("unfinished job", "job-demo-long", None, errors.JobNotReadyError, 'session.wait("job-demo-long")'),
    ("failed job", "job-demo-failed", None, errors.JobFailedError, "failed"),
    ("cancelled job", "job-demo-cancelled", None, errors.JobCancelledError, "cancelled"),
    ("refused key", "job_12345", "401", errors.AuthenticationError, "SUTRO_API_KEY"),
    ("gone", "job_12345", "410", errors.ServiceGoneError, "SUTRO_API_URL"),
    ("rate limit", "job_12345", "429", errors.ServiceError, "429"),
    ("server error", "job_12345", "500", errors.ServiceError, "500"),
    ("proxy error", "job_12345", "502", errors.ServiceError, "502"),
    ("HTML with 200", "job_12345", "html_200", errors.SutroError, "HTML"),
    ("zip without csv", "job_12345", "zip_without_csv", errors.CorruptResultsError, "CSV"),
    ("half a Parquet file", "job_12345", "half_parquet", errors.CorruptResultsError, "truncated"),
    ("unequal arrays", "job_12345", "unequal_json", errors.CorruptResultsError, "length"),
    ("too few rows", "job_12345", "wrong_rows", errors.CorruptResultsError, "rows"),
    ("body cut off", "job_12345", "cut", errors.CorruptResultsError, ""),
    ("path in the id", "../../etc/passwd", None, errors.JobNotFoundError, "has no job"),
    ("spaces in the id", "no such job", None, errors.JobNotFoundError, "has no job"),
    ("dots", "..", None, errors.JobNotFoundError, "has no job"),
    ("endless id", "x" * 3000, None, errors.ArgumentError, "3,000"),
    ("line break", "job\n1", None, errors.ArgumentError, "characters"),
    ("empty id", "  ", None, errors.ArgumentError, "No job"),
]


def kept_files(session):
    """All files of the cache but those of downloads that broke off, which the next fetch goes on with."""
    files = (
        path.relative_to(session.cache.directory)
        for path in session.cache.directory.rglob("*")
        if path.is_file()
    )
    return sorted(path for path in files if path.parts[0] != "partials")


FORMAT_OF = {"zip_without_csv": "csv", "unequal_json": "json"}


@pytest.mark.parametrize("case", [c[1:] for c in BAD_INPUT], ids=[c[0] for c in BAD_INPUT])
def test_bad_input_gets_one_clear_error_and_loses_nothing(session, demo, case):
    job_id, fault, error, words = case
    session.results("job-abc123")
    before = kept_files(session)
    if fault:
        demo.set_fault(fault, **({"retry_after": 0} if fault == "429" else {}))
    with pytest.raises(error) as caught:
        session.results(job_id, format=FORMAT_OF.get(fault, "parquet"), inputs=True)
    assert words in str(caught.value)
    assert caught.value.hint, "every error says what to type next"
    assert len(caught.value.message) < 500
    assert demo.api_key not in str(caught.value)
    assert kept_files(session) == before
    demo.clear_faults()
    assert session.results("job-abc123").from_cache
    assert session.results("job_12345").num_rows == 2


@pytest.mark.parametrize("wire", ["xml", "", "parket"])
def test_an_unknown_format_names_the_choices(session, wire):
    with pytest.raises(errors.ArgumentError, match="parquet"):
        session.results("job_12345", format=wire)


@pytest.mark.parametrize("arguments", [{"status": "done"}, {"limit": 0}])
def test_bad_filters_of_jobs_are_refused(session, arguments):
    with pytest.raises(errors.ArgumentError):
        session.jobs(**arguments)


def test_an_ordinary_web_server_is_not_taken_for_a_service_without_jobs(tmp_path):
    with serving(lambda _path: (404, "text/html", b"<html>File not found</html>")) as url:
        session = Session(url, "sk_x", tmp_path)
        for ask in (session.jobs, lambda: session.results("job_12345"), lambda: session.job("job_12345")):
            with pytest.raises(errors.ServiceError, match="does not look like a Sutro deployment"):
                ask()
        session.close()


def test_a_job_id_that_is_no_text_is_refused(session):
    with pytest.raises(errors.ArgumentError, match="must be a string, not int"):
        session.results(12345)


def test_without_a_key_nothing_is_sent(demo):
    session = Session(api_url=demo.url)
    with pytest.raises(errors.ConfigurationError, match="No API key") as caught:
        session.results("job_12345")
    assert "Session(api_url=" in caught.value.hint
    assert not demo.requests


def test_an_unreachable_service_is_said_to_be_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    session = Session(api_url=f"http://127.0.0.1:{port}", api_key="sk_x")
    session.client.retry = QUICK
    with pytest.raises(errors.ServiceUnreachableError, match="refused"):
        session.results("job_12345")


def test_a_bad_address_in_code_is_refused_at_once_and_one_in_the_environment_at_the_first_request(
    monkeypatch,
):
    with pytest.raises(errors.ConfigurationError):
        Session(api_url="acme.example", api_key="sk_x")
    monkeypatch.setenv("SUTRO_API_URL", "acme.example")
    monkeypatch.setenv("SUTRO_API_KEY", "sk_x")
    session = Session()
    assert "cannot be used" in repr(session)
    with pytest.raises(errors.ConfigurationError):
        session.jobs()


@pytest.mark.parametrize(
    "fault", ["slow", "short", "wrong_length", "gzip_encoding", "missing_etag", "hostile_filename"]
)
@pytest.mark.parametrize("wire", FORMATS)
def test_faults_of_the_way_end_in_the_right_table_or_one_error(session, demo, fault, wire):
    right = session.results("job_12345", inputs=True).to_arrow()
    demo.set_fault(fault, **({"seconds": 0.3} if fault == "slow" else {}))
    try:
        got = session.results("job_12345", format=wire, inputs=True, refresh=True).to_arrow()
    except errors.SutroError:
        demo.clear_faults()
        got = session.results("job_12345", format=wire, inputs=True, refresh=True).to_arrow()
    assert got.equals(right)


def test_a_passing_server_error_is_tried_again_and_not_seen(session, demo):
    demo.set_fault("503", times=2)
    assert session.results("job_12345").num_rows == 2


@pytest.mark.slow
def test_a_service_that_says_when_to_come_back_is_obeyed(session, demo):
    demo.set_fault("429", times=1, retry_after=1)
    begin = time.monotonic()
    assert session.results("job_12345").num_rows == 2
    assert time.monotonic() - begin >= 1


def test_a_refused_signature_is_replaced_by_a_fresh_one(session, demo):
    demo.set_fault("expired_url", times=1)
    assert session.results("job_12345").num_rows == 2


@pytest.mark.slow
def test_results_that_lag_behind_success_are_waited_for(session, demo):
    session.wait("job-demo-queued")
    demo.set_fault("not_ready", seconds=0.2)
    session.client.retry = RetryPolicy(tries=8, seconds=10, first_pause=0.05)
    assert session.results("job-demo-queued").num_rows > 0


# --- services with less ---------------------------------------------------------------------------


@pytest.mark.parametrize("wire", FORMATS)
def test_a_service_with_only_the_results_route_is_enough(session, demo, wire):
    demo.set_fault("results_only")
    results = session.results("job_12345", format=wire, inputs=True, logprobs=True)
    assert results.to_arrow()["outputs"].to_pylist() == PAGE_OUTPUTS


def test_a_missing_results_url_is_asked_for_only_once(session, demo):
    demo.set_fault("no_results_url")
    session.results("job_12345")
    session.results("job-abc123")
    assert sum("results-url" in path for path in result_requests(demo)) == 1


def test_a_conflict_without_a_word_about_the_job_is_an_unfinished_job(session, demo):
    demo.set_fault("results_only")
    with pytest.raises(errors.JobNotReadyError, match="no results of job-demo-long"):
        session.results("job-demo-long")


class OneRoute(http.server.BaseHTTPRequestHandler):
    """The results page and nothing else; insists on one name of the format parameter."""

    parameter = "result_format"
    seen: list[str]

    def do_GET(self):
        path, _, query = self.path.partition("?")
        self.server.seen.append(path)
        parameters = dict(part.split("=") for part in query.split("&")) if query else {}
        if path != f"{self.server.prefix}/jobs/job-x/results":
            return self.reply(404, b'{"detail": "Not Found"}')
        if self.server.parameter not in parameters:
            return self.reply(
                422, b'{"detail": [{"loc": ["query"], "msg": "field required", "type": "missing"}]}'
            )
        form = parameters[self.server.parameter]
        return self.reply(200, body_of(form))

    def reply(self, code, body):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def body_of(form):
    sink = io.BytesIO()
    if form == "json":
        return json.dumps({"outputs": ["a", None]}).encode()
    if form == "csv":
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("any.csv", "job-x\na\n\n")
    else:
        pq.write_table(pa.table({"job-x": ["a", None]}), sink)
    return sink.getvalue()


@contextlib.contextmanager
def serving(answer):
    """Serve what ``answer(path)`` says: status, content type, body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, kind, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "error"), [("RUNNING", errors.JobNotReadyError), ("FAILED", errors.JobFailedError)]
)
def test_results_of_a_job_that_did_not_succeed_are_not_kept(tmp_path, status, error):
    def answer(path):
        if path.endswith("/jobs/job-x/results"):
            return 200, "application/json", b'{"outputs": ["half"]}'
        if path.endswith("/jobs/job-x"):
            return 200, "application/json", json.dumps({"job": {"status": status}}).encode()
        return 404, "application/json", b"{}"

    with serving(answer) as url:
        session = Session(url, "sk_x", tmp_path)
        with pytest.raises(error):
            session.results("job-x", format="json")
        assert session.cache.entries() == []
        session.close()


def test_a_web_page_outside_the_prefix_is_not_taken_for_the_service(tmp_path):
    def answer(path):
        if path.startswith("/v1/"):
            return 404, "application/json", b'{"detail": "Job not found"}'
        return 200, "text/html", b"<html>Welcome</html>"

    with serving(answer) as url:
        session = Session(url, "sk_x", tmp_path)
        with pytest.raises(errors.JobNotFoundError):
            session.results("job-x")
        session.close()


def test_a_proxy_for_the_outside_world_does_not_stand_before_this_machine(demo, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    session = Session(demo.url, demo.api_key, tmp_path)
    session.client.retry = QUICK
    assert session.results("job_12345").num_rows == 2
    session.close()


@pytest.fixture(params=[("result_format", ""), ("result_format", "/v1"), ("format", ""), ("format", "/v1")])
def one_route(request):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneRoute)
    server.parameter, server.prefix = request.param
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("wire", FORMATS)
def test_either_name_of_the_format_parameter_and_either_prefix_work(one_route, tmp_path, wire):
    url = f"http://127.0.0.1:{one_route.server_address[1]}"
    with_cache = Session(api_url=url, api_key="sk_x", cache_dir=tmp_path)
    assert with_cache.results("job-x", format=wire).to_arrow()["outputs"].to_pylist() == ["a", None]
    with_cache.close()
