"""Every fault of the demo service: what it does, to whom, and for how long."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from sutro_magic.demo import DemoService
from sutro_magic.errors import ArgumentError

RESULTS = "/v1/jobs/job-demo-reviews/results"
BROKEN = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)


@pytest.fixture
def parquet(client):
    """Fetch a job's Parquet file by the direct route."""
    return lambda: client.get(RESULTS, format="parquet")


@pytest.fixture
def urls(client):
    return client.get("/v1/jobs/job-demo-reviews/results-url").json()["urls"]


@pytest.fixture
def whole(parquet):
    return parquet().content


def bare(method, url, **headers):
    return requests.request(method, url, headers=headers, timeout=10)


def test_every_fault_is_described_and_can_be_set(service):
    for name, text in DemoService.FAULTS.items():
        assert text.endswith(".") and "\n" not in text
        service.set_fault(name)
        assert service.fault == name
    service.clear_faults()
    assert service.fault is None


@pytest.mark.parametrize(
    ("name", "options", "close"),
    [("slwo", {}, "'slow'"), ("503s", {}, "'503'"), ("slow", {"second": 3}, "'seconds'"), ("slow", {"routes": ["result"]}, "'results'")],
)  # fmt: skip
def test_unknown_names_get_the_closest(service, name, options, close):
    with pytest.raises(ArgumentError) as caught:
        service.set_fault(name, **options)
    assert close in caught.value.hint
    assert service.fault is None


@pytest.mark.parametrize("options", [{"times": 0}, {"times": "2"}, {"times": True}, {"seconds": "3"}])
def test_bad_options_are_refused(service, options):
    with pytest.raises(ArgumentError):
        service.set_fault("slow", **options)


@pytest.mark.parametrize("name", ["401", "404", "409", "410", "422", "429", "500", "502", "503", "524"])
def test_status_faults_touch_all_ways_to_results(client, service, name):
    service.set_fault(name)
    for reply in (
        client.get(RESULTS, format="csv"),
        client.get("/v1/jobs/job-demo-reviews/results-url"),
        client.post("/job-results", {"job_id": "job-demo-reviews"}),
    ):
        assert reply.status_code == int(name)
    assert client.get("/v1/list-jobs").status_code == (410 if name == "410" else 200)
    service.clear_faults()
    assert client.get(RESULTS, format="csv").status_code == 200


def test_times_and_routes(client, service, parquet):
    service.set_fault("503", times=2)
    assert [parquet().status_code for _ in range(3)] == [503, 503, 200]
    assert service.fault is None
    service.set_fault("500", times=1, routes=["list-jobs"])
    assert parquet().status_code == 200
    assert [client.get("/v1/list-jobs").status_code for _ in range(2)] == [500, 200]


def test_a_fault_of_one_route_stays_there(client, service):
    for name, route in (("flat_status", "list-jobs"), ("missing_etag", "results"), ("500", "fault")):
        with pytest.raises(ArgumentError):
            service.set_fault(name, routes=[route])
    for name in DemoService.FAULTS:
        service.set_fault(name)
        assert client.post("/v1/job-results", ["no object"]).status_code >= 400 or name == "html_200"


def test_a_wrong_key_does_not_use_a_fault_up(client, service, parquet):
    service.set_fault("503", times=1)
    assert client.send("GET", RESULTS, params={"format": "csv"}, headers={}).status_code == 401
    assert parquet().status_code == 503


def test_bodies_of_errors(service, parquet):
    service.set_fault("429", retry_after=7)
    assert parquet().headers["Retry-After"] == "7"
    service.set_fault("502")
    assert parquet().text.startswith("<!DOCTYPE html>")
    service.set_fault("410")
    assert parquet().json()["detail"].startswith("Direct Sutro Batch API access is no longer supported")
    service.set_fault("422")
    assert parquet().json()["detail"][0]["loc"] == ["query", "include_inputs"]
    service.set_fault("html_200")
    reply = parquet()
    assert reply.status_code == 200 and reply.text.startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_slow_takes_its_time(service, parquet, whole):
    service.set_fault("slow", seconds=0.5)
    begun = time.monotonic()
    assert parquet().content == whole
    assert time.monotonic() - begun > 0.4


def test_slow_can_be_switched_off_in_the_middle(client, service, whole):
    service.set_fault("slow", seconds=120)
    with client.send("GET", RESULTS, params={"format": "parquet"}, stream=True) as reply:
        first = reply.raw.read(10)
        threading.Timer(0.1, service.clear_faults).start()
        begun = time.monotonic()
        assert first + reply.raw.read() == whole
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("route", ["results", "storage"])
def test_cut(service, parquet, urls, route):
    service.set_fault("cut")
    with pytest.raises(BROKEN):
        parquet() if route == "results" else bare("GET", urls["get"])
    assert bare("HEAD", urls["head"]).ok


def test_short_looks_complete(service, parquet, urls, whole):
    service.set_fault("short")
    for reply in (parquet(), bare("GET", urls["get"])):
        assert reply.ok and "Content-Length" not in reply.headers
        assert whole.startswith(reply.content) and 0 < len(reply.content) < len(whole)


def test_wrong_length(service, parquet, whole):
    service.set_fault("wrong_length")
    assert parquet().content == whole[:-100]
    service.set_fault("wrong_length", by=50)
    with pytest.raises(BROKEN):
        parquet()
    service.clear_faults()
    assert parquet().content == whole


def test_not_ready_for_a_while(service, parquet):
    service.set_fault("not_ready", seconds=0.3)
    assert parquet().status_code == 409
    deadline = time.monotonic() + 5
    while parquet().status_code == 409:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_expired_url(service, urls):
    service.set_fault("expired_url", times=1)
    reply = bare("GET", urls["get"])
    assert reply.status_code == 400 and b"ExpiredRequest" in reply.content
    assert bare("GET", urls["get"]).ok
    service.set_fault("expired_url", status=403)
    assert bare("HEAD", urls["head"]).status_code == 403


def test_etags(service, urls, whole):
    etag = bare("HEAD", urls["head"]).headers["ETag"]
    service.set_fault("missing_etag")
    assert "ETag" not in bare("HEAD", urls["head"]).headers
    service.set_fault("changed_etag")
    seen = {bare("HEAD", urls["head"]).headers["ETag"] for _ in range(3)} | {etag}
    resumed = bare("GET", urls["get"], **{"Range": "bytes=100-", "If-Range": etag})
    assert resumed.status_code == 200 and resumed.headers["ETag"] not in seen and len(seen) == 4
    service.set_fault("wrong_etag_206", times=1)
    assert bare("GET", urls["get"]).headers["ETag"] == etag
    resumed = bare("GET", urls["get"], **{"Range": "bytes=100-", "If-Range": etag})
    assert resumed.status_code == 206 and resumed.headers["ETag"] != etag
    assert resumed.content == whole[100:]


def test_gzip_encoding(service, urls, parquet, whole):
    service.set_fault("gzip_encoding")
    for reply in (parquet(), bare("GET", urls["get"], Range="bytes=5-")):
        assert reply.status_code == 200 and reply.headers["Content-Encoding"] == "gzip"
        assert reply.content == whole


def test_missing_routes(client, service, parquet, urls):
    service.set_fault("no_results_url")
    assert client.get("/v1/jobs/job-demo-reviews/results-url").status_code == 404
    assert parquet().ok and client.get("/v1/jobs/job-demo-reviews").ok
    service.set_fault("results_only")
    assert parquet().ok
    for path in (
        "jobs/job-demo-reviews",
        "job-status/job-demo-reviews",
        "list-jobs",
        "get-quotas",
        "auth/check",
    ):
        assert client.get(f"/v1/{path}").status_code == 404
    assert bare("GET", urls["get"]).status_code == 404


def test_older_spellings_of_statuses(client, service):
    service.set_fault("lowercase_status")
    assert client.get("/v1/jobs/job_12345").json()["job"]["status"] == "succeeded"
    assert client.get("/v1/job-status/job_12345").json()["job_status"] == {"job_12345": "succeeded"}
    assert all(job["status"].islower() for job in client.get("/v1/list-jobs").json()["jobs"])
    service.set_fault("flat_status")
    assert client.get("/v1/job-status/job_12345").json()["job_status"] == "succeeded"
    assert client.get("/v1/job-status/unknown").status_code == 404


def test_hostile_filename(client, service, parquet):
    service.set_fault("hostile_filename")
    assert client.get("/v1/jobs/job_12345/results-url").json()["artifact"]["filename"].startswith("../")
    assert "../" in parquet().headers["Content-Disposition"]


def test_spoiled_files(client, service, parquet, whole):
    service.set_fault("zip_without_csv", times=1)
    assert parquet().content == whole
    with zipfile.ZipFile(io.BytesIO(client.get(RESULTS, format="csv").content)) as archive:
        assert archive.namelist() == ["README.txt"]
    service.set_fault("half_parquet")
    assert parquet().content == whole[: len(whole) // 2]
    half = client.get("/v1/jobs/job-demo-reviews/results-url").json()
    assert bare("HEAD", half["urls"]["head"]).headers["Content-Length"] == str(half["artifact"]["size_bytes"])
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(io.BytesIO(bare("GET", half["urls"]["get"]).content))
    service.set_fault("unequal_json")
    columns = client.get(RESULTS, format="json", include_inputs=True).json()
    assert (len(columns["outputs"]), len(columns["inputs"])) == (1999, 2000)
    wrapped = client.post("/v1/job-results", {"job_id": "job-demo-reviews", "include_inputs": True}).json()[
        "results"
    ]
    assert len(wrapped["outputs"]) == 1999
    service.set_fault("wrong_rows")
    assert pq.read_table(io.BytesIO(parquet().content)).num_rows == 1999
    assert len(client.get(RESULTS, format="json").json()["outputs"]) == 1999
    service.clear_faults()
    assert parquet().content == whole


def test_faults_can_be_switched_over_http(client, service):
    assert client.get("/demo/fault").json()["fault"] is None
    answer = client.post("/demo/fault", {"name": "slow", "seconds": 3, "times": 2}).json()
    assert answer["fault"] == service.fault == "slow" and "cut" in answer["faults"]
    assert client.post("/demo/fault", {"name": None}).json()["fault"] is None
    for wrong in (
        {"name": "slwo"},
        {"name": "slow", "seconds": "x"},
        {"name": "slow", "routes": 5},
        {"name": "slow", "self": 1},
    ):
        assert client.post("/demo/fault", wrong).status_code == 422
    assert "Did you mean 'slow'?" in json.dumps(client.post("/demo/fault", {"name": "slwo"}).json())
    assert client.send("POST", "/demo/fault", json={"name": "500"}, headers={}).status_code == 401
    assert service.fault is None
