"""What each route of the API answers, in both generations.

Shapes follow the results page for ``jobs/{job_id}/results``, the API reference for the rest, and
what the official SDK 0.1.67 needs where neither says it.
"""

from __future__ import annotations

import json
import math
import secrets
from typing import TYPE_CHECKING, Any

from sutro_magic.demo import encoding, storage
from sutro_magic.demo.artifacts import Artifact, ArtifactKey
from sutro_magic.demo.fault_switch import FaultSwitch, Hit
from sutro_magic.demo.faults import FAULTS
from sutro_magic.demo.generated_outputs import maker
from sutro_magic.demo.job_spec import JobSpec, Timeline
from sutro_magic.demo.messages import Body, RefusedError, Reply, Request, detail, invalid, json_reply
from sutro_magic.demo.routing import find_route
from sutro_magic.errors import ArgumentError
from sutro_magic.models import WIRE_FORMATS, JobStatus

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from sutro_magic.demo.artifacts import Store
    from sutro_magic.demo.job_states import Board, JobState
    from sutro_magic.models import WireFormat

_LONGEST_LIFE = 604_800
_MOST_PER_PAGE = 100
_MOST_INPUTS = 20_000
_STREAM_SECONDS = 0.25
_YES = {"true", "1", "yes", "on"}
_NO = {"false", "0", "no", "off"}


class Api:
    """Answers requests from a board of jobs and a store of files.

    Parameters
    ----------
    board, store, faults
        The state of the service.
    api_key : str
        The only key that is let in.
    stopping : threading.Event
        Ends progress streams.
    """

    def __init__(
        self, board: Board, store: Store, faults: FaultSwitch, api_key: str, stopping: threading.Event
    ) -> None:
        self.url = ""
        self._board = board
        self._store = store
        self._faults = faults
        self._api_key = api_key
        self._stopping = stopping
        self._answers = {
            "results": self._results,
            "results-url": self._results_url,
            "job": lambda request: json_reply({"job": self._board.describe(self._job(request.job_id))}),
            "job-results": self._job_results,
            "job-status": self._job_status,
            "stream": self._stream,
            "list-jobs": self._list_jobs,
            "cancel": self._cancel,
            "quotas": _quotas,
            "auth": lambda _request: json_reply(
                {"authenticated": True, "principal": {"type": "api_key", "name": "demo"}}
            ),
            "try-auth": lambda _request: json_reply({"authenticated": True}),
            "submit": self._submit,
            "storage": lambda request: storage.serve(request, self._store),
            "fault": self._fault,
        }

    def answer(self, request: Request) -> Reply:
        """Answer one request, spoiled by the active fault if it meets it."""
        route, methods = find_route(request)
        if route is None and methods:
            reply = detail(405, "Method Not Allowed")
            reply.headers["Allow"] = ", ".join(methods)
            return reply
        if route is None:
            return detail(404, "Not Found")
        if route.name != "storage" and not self._authorized(request):
            return detail(401, "Invalid API key")
        try:
            return self._answer_with_fault(request)
        except RefusedError as refused:
            return refused.reply

    def _answer_with_fault(self, request: Request) -> Reply:
        answer = self._answers[request.route]
        active = request.fault = self._faults.claim(request)
        if active is None:
            return answer(request)
        hit = Hit(request, active, self._succeeded_for(request))
        instead = active.fault.before(hit) if active.fault.before is not None else None
        if instead is not None:
            return instead
        reply = answer(request)
        return reply if active.fault.after is None else active.fault.after(hit, reply)

    def _authorized(self, request: Request) -> bool:
        expected = f"Key {self._api_key}"
        return secrets.compare_digest(expected.encode(), request.headers.get("authorization", "").encode())

    def _succeeded_for(self, request: Request) -> float:
        job_id = (
            str(_json_object(request).get("job_id", "")) if request.route == "job-results" else request.job_id
        )
        state = self._board.find(job_id)
        if state is None:
            return math.inf
        now = self._board.now()
        completed = state.span(now)[1]
        return now - completed if completed is not None else math.inf

    def _job(self, job_id: str, *, looking: bool = True) -> JobState:
        state = self._board.find(job_id, looking=looking)
        if state is None:
            raise RefusedError(detail(404, "Job not found"))
        return state

    def _finished(self, job_id: str) -> JobSpec:
        """Find a job that has results; asking for them is no look at its status."""
        state = self._job(job_id, looking=False)
        status = state.status(self._board.now())
        if status is not JobStatus.SUCCEEDED:
            raise RefusedError(detail(409, f"Job is {status}; results exist only for jobs that succeeded"))
        if state.spec.run_type != "FULL":
            raise RefusedError(detail(409, "A cost estimate has no results"))
        return state.spec

    def _artifact(
        self, request: Request, spec: JobSpec, fmt: WireFormat, *, inputs: bool, logprobs: bool
    ) -> Artifact:
        defect: encoding.Defect | None = None
        if request.fault is not None and request.fault.is_defect:
            defect = request.fault.name  # type: ignore[assignment]  # these faults are named as their defects
        codec: encoding.Codec = "snappy" if request.deployment and fmt == "parquet" else "zstd"
        key = ArtifactKey(
            job_id=spec.job_id, fmt=fmt, inputs=inputs, logprobs=logprobs, codec=codec, defect=defect
        )
        return self._store.artifact(spec, key)

    def _results(self, request: Request) -> Reply:
        fmt = _format(request)
        inputs, logprobs = _flag(request, "include_inputs"), _flag(request, "include_cumulative_logprobs")
        spec = self._finished(request.job_id)
        artifact = self._artifact(request, spec, fmt, inputs=inputs, logprobs=logprobs)
        return Reply(
            headers={
                "Content-Type": encoding.CONTENT_TYPES[fmt],
                "Content-Disposition": f'attachment; filename="{spec.job_id}.{encoding.EXTENSIONS[fmt]}"',
            },
            body=Body(artifact.path),
        )

    def _results_url(self, request: Request) -> Reply:
        if request.query.get("format", request.query.get("result_format", "parquet")) != "parquet":
            return detail(400, "Only format=parquet is supported for result URLs")
        inputs, logprobs = _flag(request, "include_inputs"), _flag(request, "include_cumulative_logprobs")
        seconds = _number(request, "expires_in_seconds", 3600, _LONGEST_LIFE)
        spec = self._finished(request.job_id)
        artifact = self._artifact(request, spec, "parquet", inputs=inputs, logprobs=logprobs)
        object_key = self._store.publish(artifact)
        return json_reply(
            {
                "job_id": spec.job_id,
                "format": "parquet",
                "include_inputs": inputs,
                "include_cumulative_logprobs": logprobs,
                "expires_in_seconds": seconds,
                "artifact": {
                    "bucket": "demo-results",
                    "key": object_key,
                    "filename": artifact.key.filename,
                    "size_bytes": artifact.size,
                },
                "urls": {
                    method.lower(): self.url + self._store.sign(method, object_key, seconds)
                    for method in ("GET", "HEAD")
                },
            }
        )

    def _job_results(self, request: Request) -> Reply:
        asked = _json_object(request)
        job_id = asked.get("job_id")
        if not isinstance(job_id, str):
            return invalid("body", "job_id", "Field required")
        spec = self._finished(job_id)
        inputs, logprobs = (
            asked.get(name) is True for name in ("include_inputs", "include_cumulative_logprobs")
        )
        artifact = self._artifact(request, spec, "json", inputs=inputs, logprobs=logprobs)
        message = json.dumps(f"Results of {spec.name}")
        return Reply(
            headers={"Content-Type": "application/json"},
            body=Body(b'{"results": ', artifact.path, f', "message": {message}}}'.encode()),
        )

    def _job_status(self, request: Request) -> Reply:
        state = self._job(request.job_id)
        reason = state.spec.failure_reason
        return json_reply(
            {
                "message": "Job status read",
                "job_status": {request.job_id: state.status(self._board.now())},
                "metadata": {"failure_reason": dict(reason)} if reason else None,
            }
        )

    def _list_jobs(self, request: Request) -> Reply:
        states = self._board.newest_first()
        if "limit" not in request.query:
            return json_reply(
                {"message": "Jobs listed", "jobs": [self._board.describe(state) for state in states]}
            )
        limit = _number(request, "limit", _MOST_PER_PAGE, _MOST_PER_PAGE)
        first, cursor = 0, request.query.get("cursor")
        if cursor:
            # The cursor names the last job seen, so that a job submitted in between shifts no page.
            first = 1 + next((n for n, state in enumerate(states) if state.spec.job_id == cursor), -2)
            if first < 0:
                return invalid("query", "cursor", "Not a cursor of this list", cursor)
        page = states[first : first + limit]
        more = first + limit < len(states)
        return json_reply(
            {
                "jobs": [self._board.describe(state) for state in page],
                "next_cursor": page[-1].spec.job_id if more else None,
            }
        )

    def _stream(self, request: Request) -> Reply:
        self._job(request.job_id)
        return Reply(headers={"Content-Type": "application/x-ndjson"}, stream=self._progress(request.job_id))

    def _progress(self, job_id: str) -> Iterator[bytes]:
        """Tell progress until the job is over; the SDK reads these lines but no reference describes them."""
        turn, before = 0, -1
        while not self._stopping.is_set():
            state = self._board.find(job_id, looking=True)
            if state is None:
                return
            now = self._board.now()
            done, (tokens_in, tokens_out) = state.rows_done(now), state.tokens(now)
            if done != before:
                rate = round((done - max(before, 0)) * sum(state.spec.tokens) / _STREAM_SECONDS, 1)
                counts = {"input_tokens": tokens_in, "output_tokens": tokens_out}
                yield _line({"update_type": "progress", "result": done})
                yield _line(
                    {"update_type": "tokens", "result": {**counts, "total_tokens_processed_per_second": rate}}
                )
            elif turn % 4 == 0:
                yield _line({"update_type": "heartbeat"})
            if state.status(now).is_final:
                return
            before, turn = done, turn + 1
            self._stopping.wait(_STREAM_SECONDS)

    def _cancel(self, request: Request) -> Reply:
        state = self._job(request.job_id, looking=False)
        changed = self._board.cancel(state)
        if changed or request.deployment:
            message = "Cancellation requested" if changed else "There is nothing to cancel"
            return json_reply({"cancelled": True, "message": message})
        return json_reply({"cancelled": False, "message": "There is nothing to cancel"})

    def _submit(self, request: Request) -> Reply:
        asked = _json_object(request)
        inputs = asked.get("inputs")
        if not isinstance(inputs, list) or not 0 < len(inputs) <= _MOST_INPUTS:
            return invalid("body", "inputs", f"The demo service takes a list of 1 to {_MOST_INPUTS} inputs")
        texts = [
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in inputs
        ]
        schema = asked.get("json_schema") if isinstance(asked.get("json_schema"), dict) else None
        estimate = asked.get("cost_estimate") is True
        tokens = max(1, sum(map(len, texts)) // 4 // len(texts)), 12
        params = asked.get("sampling_params")
        spec = JobSpec(
            job_id=f"job-{secrets.token_hex(8)}",
            name=str(asked.get("name") or "Submitted job"),
            description=str(asked.get("description") or "Answered by the demo service, not by a model."),
            model=str(asked.get("model") or "demo"),
            num_rows=len(texts),
            rows=maker(texts, schema),
            age=0,
            tokens=tokens,
            priority=1 if asked.get("job_priority") == 1 else 0,
            system_prompt=asked["system_prompt"] if isinstance(asked.get("system_prompt"), str) else None,
            json_schema=schema,
            sampling_params=params if isinstance(params, dict) else {},
            timeline=Timeline(queued=0.2, starting=0.5, running=1.0 if estimate else 3.0),
            run_type="COST_ESTIMATE" if estimate else "FULL",
            cost_estimate=round(len(texts) * sum(tokens) * 0.12e-6, 6) if estimate else None,
        )
        self._store.forget(set(self._board.submit(spec)))
        return json_reply(
            {"results": spec.job_id, "metadata": {"job_id": spec.job_id}, "message": "Job created"}
        )

    def _fault(self, request: Request) -> Reply:
        if request.method == "POST":
            asked = _json_object(request)
            name = asked.pop("name", None)
            try:
                if name is None:
                    self._faults.clear()
                else:
                    self._faults.set(str(name), **asked)
            except (ArgumentError, TypeError) as error:
                return detail(422, str(error))
        known = {name: fault.description for name, fault in FAULTS.items()}
        return json_reply({"fault": self._faults.name, "faults": known})


def _quotas(_request: Request) -> Reply:
    # By priority: the official SDK's command line goes by position.
    return json_reply(
        {
            "quotas": [
                {"priority": 0, "row_quota": 1_000, "token_quota": 1_000_000},
                {"priority": 1, "row_quota": 1_000_000, "token_quota": 10_000_000},
            ]
        }
    )


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _json_object(request: Request) -> dict[str, Any]:
    try:
        value = json.loads(request.body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusedError(invalid("body", "body", "A JSON object is required", "?"))
    return value


def _format(request: Request) -> WireFormat:
    """Read the format, ``result_format`` on the results page and ``format`` in the newer reference."""
    names = ("format", "result_format") if request.deployment else ("result_format", "format")
    name = next((name for name in names if name in request.query), None)
    if name is None:
        raise RefusedError(invalid("query", names[0], "Field required"))
    text = request.query[name]
    for fmt in WIRE_FORMATS:
        if fmt == text:
            return fmt
    raise RefusedError(invalid("query", name, "Input should be 'csv', 'parquet' or 'json'", text))


def _flag(request: Request, name: str) -> bool:
    """Read a boolean in any case: the results page sends ``true`` from curl and ``True`` from Python."""
    text = request.query.get(name, "false").lower()
    if text not in _YES | _NO:
        raise RefusedError(invalid("query", name, "Input should be a valid boolean", text))
    return text in _YES


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise RefusedError(invalid("query", name, f"Input should be between 1 and {most}", text))
    return int(text)
