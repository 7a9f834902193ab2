"""The official SDK, sutro 0.1.67, in an environment of its own, against the demo service."""

from __future__ import annotations

import json

import pytest

from sutro_magic.demo import DemoService

SCRIPT = r"""
import json, os, pathlib, sys
import polars as pl
import requests
import sutro as so

so = so.Sutro()
said = {}
key = os.environ["SUTRO_API_KEY"]
said["login"] = so.try_authentication(key)
said["wrong key"] = so.try_authentication("sk_wrong")
said["jobs"] = [job["job_id"] for job in so.list_jobs()]
said["status"] = so.get_job_status("job_12345")
said["failed"] = so.get_job_status("job-demo-failed")
said["results"] = so.get_job_results(
    "job_12345", include_inputs=True, include_cumulative_logprobs=True
).to_dict(as_series=False)
reviews = so.get_job_results("job-demo-reviews")
said["unpacked"] = [reviews.columns, reviews.height]
said["reasoning"] = so.get_job_results("job-page-reasoning", unwrap_reasoning=True).to_dict(as_series=False)
said["zoo"] = so.get_job_results("job-demo-zoo").columns
said["empty"] = so.get_job_results("job-demo-empty").height
said["vectors"] = len(so.get_job_results("job-demo-vectors")["inference_result"][0])

links = so.results_download_url("job-demo-museum", include_inputs=True)
said["url"] = sorted(links["urls"])
whole = pathlib.Path(so.download_job_results("job-demo-museum", output_path="whole/", include_inputs=True))
said["download"] = [whole.name, whole.stat().st_size == links["artifact"]["size_bytes"], pl.read_parquet(whole).columns]
# A partial that is not the true beginning: only a resumed download keeps it.
etag = requests.head(links["urls"]["head"], timeout=10).headers["ETag"]
pathlib.Path("again.parquet.part").write_bytes(b"?" * 1000)
pathlib.Path("again.parquet.part.etag").write_text(etag)
again = pathlib.Path(so.download_job_results("job-demo-museum", output_path="again.parquet", include_inputs=True))
said["resumed"] = again.read_bytes() == b"?" * 1000 + whole.read_bytes()[1000:]

so.attach("job-demo-queued")
said["after attach"] = so.get_job_status("job-demo-queued")
said["awaited"] = so.await_job_completion("job-demo-queued").height
said["cancelled"] = so.cancel_job("job-demo-long")
said["quotas"] = so.get_quotas()
mine = so.infer(["one", "two words"], model="gpt-oss-20b", name="mine")
said["mine"] = so.get_job_results(mine)["inference_result"].to_list()
pathlib.Path("said.json").write_text(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_official_sdk_works(run_sdk, tmp_path):
    with DemoService(watch_seconds=3) as service:
        run_sdk(SCRIPT, service)
        asked = {path for _, path in service.requests}
    said = json.loads((tmp_path / "said.json").read_text())

    assert said["login"]["authenticated"] is True and said["wrong key"] is None
    assert said["jobs"][0] == "job-demo-queued" and {"job_12345", "job-abc123"} <= set(said["jobs"])
    assert (said["status"], said["failed"]) == ("SUCCEEDED", "FAILED")
    assert said["results"] == {
        "inputs": ["What is the capital of France?", "Explain quantum computing in simple terms"],
        "inference_result": [
            "The capital of France is Paris.",
            "Quantum computing uses quantum mechanics principles to process information in ways that classical computers cannot...",
        ],
        "cumulative_logprobs": [-0.5234, -1.2456],
    }
    assert said["unpacked"] == [["label", "confidence"], 2000]
    assert said["reasoning"]["name"] == ["John Doe", "Jane Smith"]
    assert said["zoo"] == ["letter_id", "inference_result", "confidence_score"]
    assert (said["empty"], said["vectors"]) == (0, 8)
    assert said["url"] == ["get", "head"]
    name = "sutro-results~job-demo-museum~inputs=1~logprobs=0.parquet"
    assert said["download"] == [name, True, ["object_id", "inputs", "job-demo-museum"]]
    assert said["resumed"] is True
    assert (said["after attach"], said["awaited"]) == ("SUCCEEDED", 240)
    assert said["cancelled"]["cancelled"] is True
    assert [quota["priority"] for quota in said["quotas"]] == [0, 1]
    assert said["mine"] == ["You sent 1 word: one", "You sent 2 words: two words"]
    assert "/v1/stream-job-progress/job-demo-queued" in {path.replace("//", "/") for path in asked}
