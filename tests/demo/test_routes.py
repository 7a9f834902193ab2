"""Every route of the demo service, over real HTTP, in both generations of the API."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import time
import zipfile
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from sutro_magic.demo import DemoService
from sutro_magic.demo.catalog import SAMPLES
from sutro_magic.demo.job_spec import CHUNK, iter_columns
from sutro_magic.errors import ArgumentError, ServiceUnreachableError
from sutro_magic.models import Job, JobStatus

BOTH = pytest.mark.parametrize("prefix", ["", "/v1"])
ALL = {"include_inputs": "true", "include_cumulative_logprobs": "true"}
SMALL = [
    spec
    for spec in SAMPLES
    if spec.status is JobStatus.SUCCEEDED and not spec.timeline and spec.num_rows < 5000
]


def parquet(response):
    assert response.status_code in {200, 206}
    return pq.read_table(io.BytesIO(response.content))


def csv_text(response):
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name).decode("utf-8")


def until(question, seconds=10):
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)
    return answer


# --- who may come in


ROUTES = [
    ("GET", "/jobs/job_12345/results?result_format=json"),
    ("GET", "/jobs/job_12345/results-url"),
    ("GET", "/jobs/job_12345"),
    ("POST", "/job-results"),
    ("GET", "/job-status/job_12345"),
    ("GET", "/stream-job-progress/job_12345"),
    ("GET", "/list-jobs"),
    ("GET", "/job-cancel/job_12345"),
    ("POST", "/job-cancel/job_12345"),
    ("GET", "/get-quotas"),
    ("GET", "/auth/check"),
    ("GET", "/try-authentication"),
    ("POST", "/batch-inference"),
    ("GET", "/demo/fault"),
]


@BOTH
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_the_key_and_takes_a_trailing_slash(client, prefix, method, path):
    body = {"job_id": "job_12345", "inputs": ["a"]} if method == "POST" else None
    path, question, query = path.partition("?")
    for headers in (
        {},
        {"Authorization": "Key sk_wrong"},
        {"Authorization": client.headers["Authorization"][4:]},
    ):
        refused = client.send(method, prefix + path + question + query, json=body, headers=headers)
        assert refused.status_code == 401
        assert refused.json() == {"detail": "Invalid API key"}
    for slash in ("", "/"):
        assert client.send(method, prefix + path + slash + question + query, json=body).status_code == 200


def test_unknown_paths_and_methods_are_json_errors(client):
    assert client.get("/nothing").json() == {"detail": "Not Found"}
    assert client.get("/jobs").status_code == 404
    assert client.get("/jobs/a/b/c").status_code == 404
    wrong = client.send("DELETE", "/list-jobs")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET")
    assert client.post("/job-results", ["no object"]).status_code == 422
    assert client.post("/job-results", {}).status_code == 422


@BOTH
def test_unknown_job_is_404_everywhere(client, prefix):
    for path in ("jobs/x", "jobs/x/results?format=csv", "jobs/x/results-url", "job-status/x", "job-cancel/x"):
        reply = client.get(f"{prefix}/{path}")
        assert (reply.status_code, reply.json()) == (404, {"detail": "Job not found"})
    assert client.get(f"{prefix}/stream-job-progress/x").status_code == 404
    assert client.post(f"{prefix}/job-results", {"job_id": "x"}).status_code == 404


# --- results


@BOTH
@pytest.mark.parametrize("name", ["result_format", "format"])
def test_either_name_of_the_format_works(client, prefix, name):
    assert client.get(f"{prefix}/jobs/job_12345/results", **{name: "json"}).json().keys() == {"outputs"}


@BOTH
def test_bad_parameters_are_422_in_fastapi_form(client, prefix):
    path = f"{prefix}/jobs/job_12345/results"
    for params in (
        {},
        {"format": "xml"},
        {"result_format": ""},
        {"format": "csv", "include_inputs": "perhaps"},
    ):
        reply = client.get(path, **params)
        assert reply.status_code == 422
        assert {"loc", "msg", "type"} <= reply.json()["detail"][0].keys()


@pytest.mark.parametrize("yes", ["true", "True", "TRUE", "1"])
@pytest.mark.parametrize("no", ["false", "False", "FALSE", "0"])
def test_booleans_in_any_case(client, yes, no):
    reply = client.get(
        "/jobs/job_12345/results", format="json", include_inputs=yes, include_cumulative_logprobs=no
    )
    assert reply.json().keys() == {"outputs", "inputs"}


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: spec.job_id)
def test_three_formats_hold_the_same_rows(client, spec):
    path = f"/jobs/{spec.job_id}/results"
    flat = client.get(path, result_format="json", **ALL)
    table = parquet(client.get(path, result_format="parquet", **ALL))
    name, text = csv_text(client.get(path, result_format="csv", **ALL))
    columns = flat.json()
    assert {len(values) for values in columns.values()} == {spec.num_rows} == {table.num_rows}
    ordered = [*spec.id_columns, "inputs", spec.job_id, "cumulative_logprobs"]
    ordered += ["confidence_score"] if spec.confidence else []
    assert table.column_names == ordered
    for column in ordered:
        assert table[column].to_pylist() == columns["outputs" if column == spec.job_id else column]
    assert name == f"{spec.job_id}.csv"
    assert text.partition("\n")[0] == ",".join(ordered)
    assert parse_csv(text)[1:] == [
        [as_csv(value) for value in row]
        for row in zip(*(table[column].to_pylist() for column in ordered), strict=True)
    ]


def as_csv(value):
    if isinstance(value, list):
        return json.dumps(value)
    return value if value is None or isinstance(value, str) else float(value)


def parse_csv(text):
    """RFC 4180 by hand: unquoted fields are numbers, or null when empty."""
    rows, row, place = [], [], 0
    header, _, text = text.partition("\n")
    rows.append(header.split(","))
    while place < len(text):
        if text[place] == '"':
            end = place + 1
            while text[end] != '"' or text[end + 1 : end + 2] == '"':
                end += 2 if text[end] == '"' else 1
            row.append(text[place + 1 : end].replace('""', '"'))
            place = end + 1
        else:
            end = place
            while text[end] not in ",\n":
                end += 1
            row.append(float(text[place:end]) if end > place else None)
            place = end
        if text[place] == "\n":
            rows.append(row)
            row = []
        place += 1
    return rows


def test_types_and_compression_of_parquet(client):
    for prefix, codec in (("", "ZSTD"), ("/v1", "SNAPPY")):
        reply = client.get(f"{prefix}/jobs/job-demo-zoo/results", format="parquet", **ALL)
        file = pq.ParquetFile(io.BytesIO(reply.content))
        assert file.metadata.row_group(0).column(0).compression == codec
        assert file.schema_arrow == pa.schema(
            [
                ("letter_id", pa.int64()),
                ("inputs", pa.string()),
                ("job-demo-zoo", pa.string()),
                ("cumulative_logprobs", pa.float64()),
                ("confidence_score", pa.float64()),
            ]
        )
    vectors = parquet(client.get("/jobs/job-demo-vectors/results", format="parquet"))
    assert vectors.schema.field("job-demo-vectors").type == pa.list_(pa.float64())


def test_id_columns_come_without_being_asked_for(client):
    assert list(client.get("/jobs/job-demo-museum/results", format="json").json()) == ["outputs", "object_id"]


def test_csv_tells_null_from_empty_and_leaves_a_blank_line_for_a_lone_null(client):
    broken = csv_text(client.get("/jobs/job-demo-broken/results", format="csv"))[1]
    outputs = client.get("/jobs/job-demo-broken/results", format="json").json()["outputs"]
    assert "" in outputs and None in outputs
    assert '\n""\n' in broken and "\n\n" in broken
    assert [None if row == [None] else row[0] for row in parse_csv(broken)[1:]] == outputs


def test_job_results_wraps_the_arrays(client):
    reply = client.post("/v1/job-results", {"job_id": "job_12345", "include_inputs": True}).json()
    assert reply.keys() == {"results", "message"}
    assert reply["results"].keys() == {"outputs", "inputs"}


@BOTH
def test_jobs_without_results_are_409(client, prefix):
    for job_id in ("job-demo-queued", "job-demo-long", "job-demo-failed", "job-demo-cancelled"):
        for path in (f"{prefix}/jobs/{job_id}/results?format=json", f"{prefix}/jobs/{job_id}/results-url"):
            assert client.get(path).status_code == 409
        assert client.post(f"{prefix}/job-results", {"job_id": job_id}).status_code == 409


# --- signed URLs


@BOTH
def test_results_url_describes_a_file_that_the_urls_deliver(client, prefix):
    answer = client.get(f"{prefix}/jobs/job-demo-zoo/results-url", include_inputs="True").json()
    assert answer["job_id"] == "job-demo-zoo" and answer["format"] == "parquet"
    assert answer["include_inputs"] is True and answer["include_cumulative_logprobs"] is False
    assert answer["expires_in_seconds"] == 3600
    assert answer["artifact"]["filename"] == "sutro-results~job-demo-zoo~inputs=1~logprobs=0.parquet"
    head = requests.head(answer["urls"]["head"], timeout=10)
    got = requests.get(answer["urls"]["get"], timeout=10)
    assert int(head.headers["Content-Length"]) == len(got.content) == answer["artifact"]["size_bytes"]
    assert head.headers["ETag"] == got.headers["ETag"] and head.headers["Accept-Ranges"] == "bytes"
    assert parquet(got).column_names == ["letter_id", "inputs", "job-demo-zoo", "confidence_score"]


def test_results_url_checks_its_parameters(client):
    path = "/v1/jobs/job_12345/results-url"
    assert client.get(path, format="csv").status_code == 400
    for seconds in ("0", "604801", "-1", "soon"):
        assert client.get(path, expires_in_seconds=seconds).status_code == 422
    assert client.get(path, expires_in_seconds="604800").json()["expires_in_seconds"] == 604_800


def test_the_signature_is_the_only_credential_and_for_one_method(client):
    urls = client.get("/v1/jobs/job_12345/results-url").json()["urls"]
    both = client.http.get(urls["get"], headers=client.headers, timeout=10)
    assert both.status_code == 400 and b"<Error>" in both.content
    assert requests.head(urls["get"], timeout=10).status_code == 403
    assert requests.get(urls["head"], timeout=10).status_code == 403
    assert requests.get(urls["get"][:-1] + "!", timeout=10).status_code == 403
    assert requests.get(urls["get"].partition("?")[0], timeout=10).status_code == 403
    assert requests.get(urls["get"].replace("Expires=3600", "Expires=9999"), timeout=10).status_code == 403
    assert b"SignatureDoesNotMatch" in requests.get(urls["get"] + "0", timeout=10).content


@pytest.mark.slow
def test_a_url_expires(client):
    url = client.get("/v1/jobs/job_12345/results-url", expires_in_seconds=1).json()["urls"]["get"]
    assert requests.get(url, timeout=10).status_code == 200
    # A reply that is an error counts as false, so it is handed out in a tuple.
    (reply,) = until(lambda: None if (got := requests.get(url, timeout=10)).ok else (got,))
    assert reply.status_code == 400
    assert b"<Code>ExpiredRequest</Code>" in reply.content


@pytest.fixture
def stored(client):
    url = client.get("/v1/jobs/job-demo-reviews/results-url").json()["urls"]["get"]
    whole = requests.get(url, timeout=10)

    def fetch(**headers):
        return requests.get(
            url, headers={name.replace("_", "-"): text for name, text in headers.items()}, timeout=10
        )

    return whole, fetch


def test_ranges(stored):
    whole, fetch = stored
    body, size = whole.content, len(whole.content)
    for text, start, stop in (
        ("0-0", 0, 1), ("10-19", 10, 20), ("100-", 100, size), ("-7", size - 7, size), (f"-{size * 2}", 0, size),
        (f"5-{size * 9}", 5, size),
    ):  # fmt: skip
        part = fetch(Range=f"bytes={text}")
        assert part.status_code == 206 and part.content == body[start:stop]
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert part.headers["Content-Length"] == str(stop - start)


def test_ranges_that_cannot_be_met(stored):
    whole, fetch = stored
    for text in (f"{len(whole.content)}-", "-0", "99999999-100000000"):
        refused = fetch(Range=f"bytes={text}")
        assert refused.status_code == 416
        assert refused.headers["Content-Range"] == f"bytes */{len(whole.content)}"
    for text in ("bytes=0-1,4-5", "lines=0-3", "bytes=5-2", "bytes=-"):
        assert fetch(Range=text).status_code == 200


def test_if_range(stored):
    whole, fetch = stored
    assert fetch(Range="bytes=9-", If_Range=whole.headers["ETag"]).status_code == 206
    other = fetch(Range="bytes=9-", If_Range='"another"')
    assert other.status_code == 200 and other.content == whole.content


# --- jobs


@BOTH
def test_list_jobs_newest_first_and_paged(client, prefix):
    everything = client.get(f"{prefix}/list-jobs").json()["jobs"]
    assert [job["job_id"] for job in everything] == [spec.job_id for spec in SAMPLES]
    created = [datetime.fromisoformat(job["datetime_created"]) for job in everything]
    assert created == sorted(created, reverse=True)
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = client.get(f"{prefix}/list-jobs", limit=5, **({"cursor": cursor} if cursor else {})).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert seen == [job["job_id"] for job in everything] and pages == -(-len(seen) // 5)
    for limit in ("0", "101", "many"):
        assert client.get(f"{prefix}/list-jobs", limit=limit).status_code == 422
    assert client.get(f"{prefix}/list-jobs", limit=5, cursor="nonsense").status_code == 422


def test_every_listed_job_reads_as_a_job(client):
    for data in client.get("/v1/list-jobs").json()["jobs"]:
        job = Job.from_api(data)
        assert job.created and job.model and job.name and job.num_rows is not None
        assert job.status is not JobStatus.UNKNOWN
        same = client.get(f"/v1/jobs/{job.job_id}").json()["job"]
        assert same.keys() == data.keys()
        if job.status is JobStatus.SUCCEEDED:
            assert job.started < job.completed


def test_a_failed_job_says_why(client):
    status = client.get("/v1/job-status/job-demo-failed").json()
    assert status["job_status"] == {"job-demo-failed": "FAILED"}
    assert "could not be read" in status["metadata"]["failure_reason"]["message"]
    assert client.get("/jobs/job-demo-failed").json()["job"]["failure_reason"]["message"]


def status_of(client, job_id):
    return client.get(f"/v1/job-status/{job_id}").json()["job_status"][job_id]


@pytest.mark.slow
@pytest.mark.parametrize("first_look", ["/v1/job-status/{}", "/jobs/{}"])
def test_the_queued_job_runs_while_watched(client, service, first_look):
    listed = {job["job_id"]: job["status"] for job in client.get("/list-jobs").json()["jobs"]}
    assert listed["job-demo-queued"] == "QUEUED"
    assert client.get("/jobs/job-demo-queued/results", format="json").status_code == 409
    assert client.get(first_look.format("job-demo-queued")).status_code == 200
    seen = []
    until(lambda: seen.append(status_of(client, "job-demo-queued")) or seen[-1] == "SUCCEEDED")
    order = ["QUEUED", "STARTING", "RUNNING", "SUCCEEDED"]
    # A busy machine may look too late to see a short one.
    assert sorted(seen, key=order.index) == seen and "RUNNING" in seen
    done = client.get("/jobs/job-demo-queued").json()["job"]
    assert done["datetime_started"] < done["datetime_completed"]
    assert (
        len(client.get("/jobs/job-demo-queued/results", format="json").json()["outputs"]) == done["num_rows"]
    )
    service.reset()
    assert status_of(client, "job-demo-queued") == "QUEUED"


def test_list_jobs_does_not_start_the_queued_job(client):
    client.get("/v1/list-jobs")
    assert client.service._board.find("job-demo-queued").clock is None


@pytest.mark.slow
def test_progress_grows_to_all_rows(client):
    with client.send("GET", "/v1/stream-job-progress/job-demo-queued", stream=True) as reply:
        assert reply.headers["Transfer-Encoding"] == "chunked"
        events = [json.loads(line) for line in reply.iter_lines() if line]
    counts = [event["result"] for event in events if event["update_type"] == "progress"]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 240 and len(counts) > 2
    tokens = [event["result"] for event in events if event["update_type"] == "tokens"]
    assert tokens[-1]["input_tokens"] > 0 and "output_tokens" in tokens[-1]


def test_either_method_cancels(client, service):
    for method in ("GET", "POST"):
        assert client.send(method, "/job-cancel/job-demo-long").json()["cancelled"] is True
        assert client.send(method, "/job-cancel/job-demo-long").json()["cancelled"] is False
        service.reset()


@pytest.mark.slow
def test_cancel_goes_through_cancelling(client, service):
    assert client.get("/v1/job-cancel/job-demo-long").json()["cancelled"] is True
    assert status_of(client, "job-demo-long") == "CANCELLING"
    until(lambda: status_of(client, "job-demo-long") == "CANCELLED")
    assert client.get("/jobs/job-demo-long/results", format="csv").status_code == 409
    service.reset()
    assert status_of(client, "job-demo-long") == "RUNNING"


def test_cancelling_a_finished_job_differs_by_generation(client):
    assert client.get("/v1/job-cancel/job_12345").json()["cancelled"] is True
    assert client.post("/job-cancel/job_12345", None).json()["cancelled"] is False
    assert status_of(client, "job_12345") == "SUCCEEDED"


def test_account_routes(client):
    assert client.get("/v1/auth/check").json()["authenticated"] is True
    assert client.get("/try-authentication").json() == {"authenticated": True}
    assert [quota["priority"] for quota in client.get("/v1/get-quotas").json()["quotas"]] == [0, 1]


def test_a_submitted_job_answers_by_its_schema(client, service):
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["good", "bad"]},
            "score": {"type": "number", "minimum": 2, "maximum": 3},
            "tags": {"type": "array", "items": {"type": "string"}},
            "inner": {"type": "object", "properties": {"n": {"type": "integer"}, "yes": {"type": "boolean"}}},
        },
    }
    body = {"model": "m", "inputs": ["one", {"two": 2}], "json_schema": schema, "name": "mine"}
    job_id = client.post("/v1/batch-inference", body).json()["results"]
    assert client.get("/list-jobs").json()["jobs"][0]["job_id"] == job_id
    until(lambda: status_of(client, job_id) == "SUCCEEDED")
    results = client.get(f"/jobs/{job_id}/results", format="json", **ALL).json()
    assert results["inputs"] == ["one", '{"two": 2}']
    for output in map(json.loads, results["outputs"]):
        assert output["label"] in {"good", "bad"} and 2 <= output["score"] <= 3
        assert isinstance(output["inner"]["n"], int) and isinstance(output["inner"]["yes"], bool)
    files = set(service._store.folder.iterdir())
    service.reset()
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert len(set(service._store.folder.iterdir())) == len(files) - 1


def test_a_dry_run_only_estimates(client):
    job_id = client.post("/batch-inference/", {"inputs": ["a"] * 9, "cost_estimate": True}).json()["results"]
    until(lambda: status_of(client, job_id) == "SUCCEEDED")
    job = client.get(f"/v1/jobs/{job_id}").json()["job"]
    assert job["cost_estimate"] > 0 and job["run_type"] != "FULL"
    assert client.get(f"/v1/jobs/{job_id}/results", format="csv").status_code == 409


def test_submissions_are_bounded(client):
    for inputs in ([], "https://files.example/x.csv", None):
        assert client.post("/v1/batch-inference", {"inputs": inputs}).status_code == 422
    first = client.post("/v1/batch-inference", {"inputs": ["a"]}).json()["results"]
    for _ in range(50):
        client.post("/v1/batch-inference", {"inputs": ["a"]})
    assert client.get(f"/v1/jobs/{first}").status_code == 404


# --- rows


@pytest.mark.parametrize("spec", SAMPLES, ids=lambda spec: spec.job_id)
def test_any_part_of_a_job_is_the_same_rows(spec):
    names = [*spec.id_columns, "inputs", "outputs", "cumulative_logprobs"]
    stop = min(spec.num_rows, CHUNK + 40)
    whole = {name: [] for name in names}
    for columns in iter_columns(spec, names, 0, stop):
        for name, values in columns.items():
            whole[name] += values
    start = max(0, stop - 70)
    part = {name: [] for name in names}
    for columns in iter_columns(spec, names, start, stop):
        for name, values in columns.items():
            part[name] += values
    assert part == {name: values[start:stop] for name, values in whole.items()}
    assert len(whole["outputs"]) == stop


def test_riddles_spell_their_answers():
    (columns,) = iter_columns(
        next(spec for spec in SAMPLES if spec.job_id == "job-demo-riddles"), ["inputs", "outputs"]
    )
    kinds = set()
    for riddle, output in zip(columns["inputs"], columns["outputs"], strict=True):
        content = json.loads(output)["content"]
        kinds.add(content[0] == "{")
        word = json.loads(content)["answer"] if content[0] == "{" else content
        clues = riddle.splitlines()[:-1]
        assert len(clues) == len(word)
        for letter, clue in zip(word, clues, strict=True):
            has, _, lacks = clue.partition(" is in ")[2].rstrip(",").partition(" but not in ")
            assert letter in has and letter not in lacks
    assert kinds == {True, False}


def test_enough_small_jobs_to_practise_with():
    assert sum(1 <= spec.num_rows < 5000 for spec in SMALL) >= 4
    assert {1_000_000, 10_000, 0} <= {spec.num_rows for spec in SAMPLES}


# --- the object itself


def test_start_stop_and_what_is_left_behind():
    service = DemoService(api_key="sk_demo_mine")
    with pytest.raises(ServiceUnreachableError):
        _ = service.url
    before = threading.active_count()
    assert service.start() is service.start()
    address = urlsplit(service.url)
    idle = socket.create_connection((address.hostname, address.port))
    headers = {"Authorization": "Key sk_demo_mine"}
    with requests.Session() as http:
        assert http.get(service.url + "/v1/auth/check", headers=headers, timeout=5).status_code == 200
        stream = http.get(
            service.url + "/stream-job-progress/job-demo-long", headers=headers, stream=True, timeout=5
        )
        next(stream.iter_lines())
        assert http.get(service.url + "/jobs/job_12345/results?format=csv", headers=headers, timeout=5).ok
        folder = service._store.folder
        assert list(folder.iterdir())
        service.stop()
        service.stop()
        stream.close()
    assert not folder.exists() and threading.active_count() == before
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address.hostname, address.port))
    with service:
        assert requests.get(service.url + "/v1/auth/check", headers=headers, timeout=5).ok


def test_keys_are_random_and_ports_checked():
    one, other = DemoService(), DemoService()
    assert one.api_key != other.api_key and one.api_key.startswith("sk_demo_")
    for port in (-1, 65_536, True, "80"):
        with pytest.raises(ArgumentError):
            DemoService(port=port)
    with one, pytest.raises(ArgumentError, match="cannot be used"):
        DemoService(port=int(one.start().url.rpartition(":")[2])).start()


def test_requests_are_remembered_without_queries(client, service):
    client.get("/v1/jobs/job_12345/results", format="json")
    assert list(service.requests) == [("GET", "/v1/jobs/job_12345/results")]


def test_one_connection_serves_many_requests(client, service):
    connections = []
    for _ in range(3):
        client.post("/v1/job-results", {"job_id": "job_12345"})
        client.get("/nothing")
        connections.append(set(service._server._open))
    assert connections[0] == connections[2] and len(connections[0]) >= 1


def test_importing_the_package_is_light():
    heavy = "{'pyarrow', 'requests', 'http.server', 'pandas', 'numpy'}"
    code = f"import sys, sutro_magic.demo; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_nothing_is_stored_in_the_package():
    import sutro_magic.demo

    folder = Path(sutro_magic.demo.__file__).parent
    assert {
        path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    } == {".py"}
