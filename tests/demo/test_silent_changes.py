"""What the official SDK, version 0.1.67, silently makes of outputs, and what they are here."""

from __future__ import annotations

import json

import pytest

from sutro_magic import Session
from sutro_magic.demo import DemoService, job_states
from sutro_magic.demo.job_spec import JobSpec

SCRIPT = r"""
import json, pathlib
import sutro as so

so = so.Sutro()
said = {}
for job, inputs in json.loads(pathlib.Path("jobs.json").read_text()).items():
    try:
        frame = so.get_job_results(job, include_inputs=inputs, unwrap_reasoning=True)
        said[job] = frame.to_dict(as_series=False)
    except Exception as error:
        said[job] = type(error).__name__
pathlib.Path("said.json").write_text(json.dumps(said))
"""

SENT = None  # what the SDK gives is the outputs, untouched

CASES = {
    # name: (outputs, what the SDK gives, what we give)
    "a number becomes text": (['{"a": 1}', '{"a": "s"}'], {"a": ["1", "s"]}, {"a": ["1", '"s"']}),
    "a number becomes a list": (['{"a": 1}', '{"a": [1]}'], {"a": [[1], [1]]}, {"a": ["1", "[1]"]}),
    "true becomes 1": (['{"a": true}', '{"a": 2}'], {"a": [1, 2]}, {"a": ["true", "2"]}),
    "a large integer is lost": (
        ['{"a": 12345678901234567890}', '{"a": 1}'],
        {"a": [None, 1]},
        {"a": [12345678901234567890, 1]},
    ),
    "missing keys are null": (['{"a": 1}', '{"b": 2}'], {"a": [1, None], "b": [None, 2]}, {"a": [1, None], "b": [None, 2]}),
    "objects in lists get each other's keys": (
        ['{"a": [{"x": 1}, {"y": 2}]}'],
        {"a": [[{"x": 1, "y": None}, {"x": None, "y": 2}]]},
        {"a": ['[{"x": 1}, {"y": 2}]']},
    ),
    "one row that is cut keeps all of them packed": (
        ['{"a": 1}', '{"a": '], SENT, {"a": [1, None], "_raw": [None, '{"a": '], "_error": [None, "cut off after 6 characters"]},
    ),
    "so does an empty one": (['{"a": 1}', ""], SENT, {"a": [1, None], "_raw": [None, ""], "_error": [None, "empty"]}),
    "so does NaN": (
        ['{"a": 1}', '{"a": NaN}'], SENT, {"a": [1, None], "_raw": [None, '{"a": NaN}'], "_error": [None, "NaN is not JSON"]},
    ),
    "so does text after it": (
        ['{"a": 1}', '{"a": 2} done'],
        SENT,
        {"a": [1, None], "_raw": [None, '{"a": 2} done'], "_error": [None, "text after the JSON, from character 10"]},
    ),
    "so does a code fence": (
        ['{"a": 1}', "```\n{}\n```"], SENT, {"a": [1, None], "_raw": [None, "```\n{}\n```"], "_error": [None, "a code fence around it"]},
    ),
    "so does an object next to a text": (['{"a": {"x": 1}}', '{"a": "s"}'], SENT, {"a": ['{"x": 1}', '"s"']}),
    "so do thirty digits": (
        [f'{{"a": {10**29}}}', '{"a": 1}'], SENT, {"a": [10**29, 1]},
    ),
    "objects without keys stay text": (["{}", "{}"], SENT, SENT),
    "numbers at the top stay text": (["1", "2"], SENT, SENT),
    "content that is JSON text is not unfolded": (
        ['{"content": "{\\"a\\": 1}", "reasoning_content": "r"}'],
        {"content": ['{"a": 1}'], "reasoning_content": ["r"]},
        {"a": [1], "reasoning_content": ["r"]},
    ),
    "an inner reasoning_content is a conflict": (
        ['{"content": {"reasoning_content": "i"}, "reasoning_content": "r"}'],
        "ValueError",
        {"output.reasoning_content": ["i"], "reasoning_content": ["r"]},
    ),
    "a field called inputs is a conflict": (['{"inputs": 1}'], "ValueError", {"inputs": ["in"], "output.inputs": [1]}),
    "a key that stands twice loses a value": (
        ['{"a": 1}', '{"a": 1, "a": 2}'],
        {"a": [1, 1]},
        {"a": [1, None], "_raw": [None, '{"a": 1, "a": 2}'], "_error": [None, "duplicate key 'a'"]},
    ),
    "date-like text": (['{"a": "2024-01-01"}'], {"a": ["2024-01-01"]}, {"a": ["2024-01-01"]}),
}  # fmt: skip


def spec(number, outputs):
    return JobSpec(
        job_id=f"job-case-{number}",
        name="",
        description="",
        model="m",
        num_rows=len(outputs),
        rows=lambda _rng, rows: {
            "inputs": ["in"] * len(rows),
            "outputs": list(outputs),
            "cumulative_logprobs": [-1.0] * len(rows),
        },
        age=60,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_changes_here_that_changes_in_the_sdk(run_sdk, tmp_path, monkeypatch):
    specs = [spec(number, outputs) for number, (outputs, _, _) in enumerate(CASES.values())]
    monkeypatch.setattr(job_states, "SAMPLES", tuple(specs))
    with_inputs = ["called inputs" in name for name in CASES]
    asked = dict(zip([one.job_id for one in specs], with_inputs, strict=True))
    (tmp_path / "jobs.json").write_text(json.dumps(asked))
    with DemoService() as service:
        run_sdk(SCRIPT, service)
        session = Session(service.url, service.api_key, tmp_path / "cache")
        ours = [session.results(job, inputs=inputs).to_arrow().to_pydict() for job, inputs in asked.items()]
        session.close()
    theirs = json.loads((tmp_path / "said.json").read_text())

    for one, mine, (name, (outputs, sdk, here)) in zip(specs, ours, CASES.items(), strict=True):
        assert theirs[one.job_id] == ({"inference_result": outputs} if sdk is SENT else sdk), name
        assert mine == ({"outputs": outputs} if here is SENT else here), name
    print(f"{len(CASES)} cases beside the SDK")
