"""Against an object store that is not ours: moto's S3 server, with presigned URLs of boto3 behind ``results-url``."""

from __future__ import annotations

import logging

import pytest
from faulty_storage import JOB, FaultyService, make_table, running

from sutro_magic import Session, errors
from sutro_magic.api.retry import RetryPolicy

boto3 = pytest.importorskip("boto3")
server = pytest.importorskip("moto.server")

pytestmark = pytest.mark.slow
BRISK = RetryPolicy(tries=4, seconds=8, first_pause=0.01)
BUCKET, KEY = "sutro-results", "jobs/u1/job-x/out.parquet"


class StoredElsewhere(FaultyService):
    """Its results are in a bucket."""

    def __post_init__(self):
        super().__post_init__()
        self.bucket = None
        self.lives = 3600

    def answer(self, method, path, query, headers):
        if not path.endswith("/results-url"):
            return super().answer(method, path, query, headers)
        urls = {
            name: self.bucket.generate_presigned_url(
                f"{name}_object", Params={"Bucket": BUCKET, "Key": KEY}, ExpiresIn=self.lives
            )
            for name in ("get", "head")
        }
        from faulty_storage import json_reply

        return json_reply(
            {"urls": urls, "artifact": {"filename": "x.parquet", "size_bytes": len(self.artifact)}}
        )

    def put(self):
        self.bucket.put_object(Bucket=BUCKET, Key=KEY, Body=self.artifact)


@pytest.fixture(scope="module")
def bucket():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    made = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )
    made.create_bucket(Bucket=BUCKET)
    yield made
    moto.stop()


@pytest.fixture
def service(bucket):
    with running(StoredElsewhere(table=make_table(40_000), row_group_size=1000)) as made:
        made.bucket = bucket
        made.put()
        yield made


@pytest.fixture
def client(service, tmp_path):
    made = Session(service.url, "sk_x", tmp_path / "cache")
    made.client.retry = BRISK
    yield made
    made.close()


def test_it_comes_whole(service, client):
    told = []
    assert client.results(JOB, on_bytes=lambda *state: told.append(state)).to_arrow().equals(service.table)
    assert told[-1] == (len(service.artifact),) * 2


def stopped_in_the_middle(client):
    def stop(done, total):
        if total and done > total / 4:
            raise KeyboardInterrupt

    kept = []
    with pytest.raises(KeyboardInterrupt):
        client.results(JOB, on_bytes=stop, on_kept=kept.append)
    return kept[0]


@pytest.fixture
def by_drops(monkeypatch):
    """Read little at a time, so that there is a middle to stop in."""
    monkeypatch.setattr("sutro_magic.download.transfer.CHUNK_BYTES", 4096)
    monkeypatch.setattr("sutro_magic.download.transfer.TICK_SECONDS", 0.001)


@pytest.mark.usefixtures("by_drops")
def test_it_is_gone_on_with(service, client):
    kept = stopped_in_the_middle(client)
    told = []
    assert client.results(JOB, on_bytes=lambda *state: told.append(state)).to_arrow().equals(service.table)
    assert 0 < kept < len(service.artifact) and told[0] == (kept, len(service.artifact))


@pytest.mark.usefixtures("by_drops")
def test_another_object_begins_anew(service, client):
    stopped_in_the_middle(client)
    service.change()
    service.put()
    assert client.results(JOB).to_arrow().equals(service.table)
    assert client.results(JOB).path.read_bytes() == service.artifact


def test_several_connections_share_it(service, client, monkeypatch):
    monkeypatch.setattr("sutro_magic.download.concurrency.WINDOW_SECONDS", 0.001)
    monkeypatch.setattr("sutro_magic.download.concurrency.WORTH_SECONDS", 0.0)
    monkeypatch.setattr("sutro_magic.download.concurrency.NEEDED_SHARE", -10.0)
    monkeypatch.setattr("sutro_magic.download.transfer.SMALLEST_SPLIT", 64 << 10)
    monkeypatch.setattr("sutro_magic.download.transfer.CHUNK_BYTES", 2048)
    monkeypatch.setattr("sutro_magic.download.transfer.TICK_SECONDS", 0.001)
    asked = []
    real = client.client.open_artifact
    monkeypatch.setattr(
        client.client,
        "open_artifact",
        lambda artifact, headers: asked.append(headers) or real(artifact, headers),
    )
    assert client.results(JOB).to_arrow().equals(service.table)
    assert len(asked) > 1 and all("If-Range" in headers for headers in asked[1:])


def test_it_is_looked_at(service, client):
    truncation = client.peek(JOB, 50)
    assert truncation.to_arrow().equals(service.table.slice(0, 50))
    assert truncation.truncation.fetched < len(service.artifact) / 5


def test_an_object_that_is_gone_is_an_error(service, client, bucket):
    bucket.delete_object(Bucket=BUCKET, Key=KEY)
    with pytest.raises(errors.ServiceError, match="404"):
        client.results(JOB)
