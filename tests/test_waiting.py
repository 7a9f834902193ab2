"""Waiting for a job: its status is what counts, its progress stream is only shown."""

from __future__ import annotations

import json
import threading
import time

import pytest
from scripted import scripted

from sutro_magic import errors, limits
from sutro_magic.jobs import polling, progress_stream
from sutro_magic.models import Job, JobProgress, JobStatus
from sutro_magic.ui.render.progress import Progress, ProgressLine, bar, html_bar

pytestmark = pytest.mark.slow

JOB = "job-1"


def line(kind, result=None):
    return json.dumps({"update_type": kind, "result": result}).encode() + b"\n"


class RunningJob:
    """A job that runs until `finish` is called; it can be asked for its status and its details."""

    def __init__(self, rows=100, reason=None):
        self.status, self.rows, self.reason = "RUNNING", rows, reason

    def finish(self, status="SUCCEEDED"):
        self.status = status

    def routes(self, **more):
        return {
            "jobs": lambda _path, _query: {"job": {"job_id": JOB, "status": self.status, "num_rows": self.rows, "name": "long", "failure_reason": self.reason}},
            "job_status": lambda _path, _query: {"job_status": {JOB: self.status}, "metadata": None},
            **more,
        }  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(polling, "FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(polling, "MAX_POLL_SECONDS", 0.1)
    monkeypatch.setattr(progress_stream, "FIRST_PAUSE_SECONDS", 0.02)


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_rows_and_tokens_are_told_while_the_job_runs_and_never_go_back(tmp_path):
    job = RunningJob()

    def stream(_path, _query):
        for rows in (10, 40, 30, 70):
            yield line("progress", rows)
        yield line("tokens", {"output_tokens": 9, "total_tokens_processed_per_second": 120.5})
        yield b"not JSON\n\n" + line("news", {"of": "the world"}) + b'{"no": "type"}\n"text"\n'
        yield line("tokens", {"total_tokens_processed_per_second": float("nan"), "input_tokens": True})
        yield line("progress", 100)
        until(lambda: told and told[-1][1].rows == 100)
        job.finish()

    told = []
    with scripted(tmp_path, **job.routes(stream_job_progress=stream)) as (_, session):
        done = session.wait(JOB, on_progress=lambda job, progress: told.append((job.status, progress)))
    assert done.status is JobStatus.SUCCEEDED
    assert [progress.rows for _, progress in told] == sorted(progress.rows for _, progress in told)
    assert told[-1][1] == JobProgress(rows=100, output_tokens=9, tokens_per_second=120.5)


def test_a_stream_that_breaks_is_taken_up_again(tmp_path):
    job, opened = RunningJob(), []

    def stream(_path, _query):
        opened.append(1)
        if len(opened) == 2:
            return 502
        return iter([line("progress", 10 * len(opened))])  # and ends

    with scripted(tmp_path, **job.routes(stream_job_progress=stream)) as (_, session):
        thread = threading.Thread(target=lambda: (until(lambda: len(opened) >= 4), job.finish()))
        thread.start()
        told = []
        session.wait(JOB, on_progress=lambda _job, progress: told.append(progress.rows))
        thread.join()
    assert told[0] == 10 and told[-1] >= 30


def test_a_stream_that_counts_all_rows_proves_nothing(tmp_path):
    job = RunningJob(reason={"message": "the model ran out of memory"})

    def stream(_path, _query):
        yield line("progress", 100)
        job.finish("FAILED")

    with (
        scripted(tmp_path, **job.routes(stream_job_progress=stream)) as (_, session),
        pytest.raises(errors.JobFailedError, match="the model ran out of memory"),
    ):
        session.wait(JOB)


@pytest.mark.parametrize("answer", [404, 405, 403, 410])
def test_a_service_without_such_a_stream_is_waited_for_as_well(tmp_path, answer):
    job = RunningJob()
    with scripted(tmp_path, **job.routes(stream_job_progress=lambda _path, _query: answer)) as (
        script,
        session,
    ):
        threading.Timer(0.4, job.finish).start()
        assert session.wait(JOB).status is JobStatus.SUCCEEDED
        assert script.count("stream-job-progress") == 1


def test_an_outage_in_the_middle_does_not_end_the_wait_and_is_said(tmp_path):
    job, answers = RunningJob(), iter([200, 503, 500, 503, 200])
    noted = []

    def status(_path, _query):
        code = next(answers, None)
        if code is None:
            job.finish()
        return code if code not in (None, 200) else {"job_status": {JOB: job.status}, "metadata": None}

    with scripted(tmp_path, **{**job.routes(), "job_status": status}) as (_, session):
        session.on_retry = noted.append
        assert session.wait(JOB).status is JobStatus.SUCCEEDED
    assert len(noted) >= 3 and "503" in noted[0]


def test_an_outage_without_end_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "OUTAGE_SECONDS", 0.2)
    job = RunningJob()
    with (
        scripted(tmp_path, **{**job.routes(), "job_status": lambda _path, _query: 503}) as (_, session),
        pytest.raises(errors.ServiceError, match="503"),
    ):
        session.wait(JOB)


def test_a_refused_key_in_the_middle_ends_the_wait_at_once(tmp_path):
    job = RunningJob()
    with scripted(tmp_path, **{**job.routes(), "job_status": lambda _path, _query: 401}) as (script, session):
        with pytest.raises(errors.AuthenticationError):
            session.wait(JOB)
        assert script.count("job-status") == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(session, timeout):
    with pytest.raises(errors.ArgumentError, match="not a valid timeout"):
        session.wait("job-demo-long", timeout=timeout)


def test_the_thread_that_listens_ends_with_the_wait(session):
    with pytest.raises(errors.WaitTimeoutError):
        session.wait("job-demo-long", timeout=0.5)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "sutro-watch"])


# --- how it looks ---------------------------------------------------------------------------------


def test_a_job_that_is_waited_for_is_said_in_rows_tokens_and_a_bar():
    progress = Progress()
    job = Job(job_id="job-1", name="$5 to $10 <b>", status=JobStatus.RUNNING, num_rows=240)
    progress.on_progress(job, JobProgress(rows=60, tokens_per_second=1234.4))
    assert progress.text.startswith(
        "$5 to $10 <b> (job-1): RUNNING, 60 of 240 rows (25%), 1,234 tokens/s, waited "
    )
    assert progress.share == 0.25
    shown = html_bar(progress.text, progress.share)
    assert '<progress value="0.250" max="1"' in shown and "&lt;b&gt;" in shown and "tex2jax_ignore" in shown


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, ""), (1, "█" * 20), (0.5, "█" * 10), (0.5125, "█" * 10 + "▎"), (7, "█" * 20), (-1, "")],
)
def test_a_bar_of_text_is_as_long_as_its_share(share, drawn):
    assert bar(share) == f"▕{drawn.ljust(20)}▏"


def test_in_a_narrow_terminal_the_line_stays_one_line(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    line = ProgressLine(notebook=False)
    line._begin -= 10
    job = Job(job_id="job-1", name="渡" * 60, status=JobStatus.RUNNING, num_rows=240)
    line.on_progress(job, JobProgress(rows=60))
    line.done()
    from prompt_toolkit.utils import get_cwidth

    lines = capsys.readouterr().err.replace("\x1b[K", "").strip("\n").split("\r")
    assert any("渡" in text for text in lines) and max(map(get_cwidth, lines)) <= 39
