"""The jobs of a service as somebody scrolls through them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import Jobs, scripted

from sutro_magic import errors
from sutro_magic.jobs.feed import JobFeed
from sutro_magic.models import JobStatus

pytestmark = pytest.mark.slow


def ids(jobs):
    return [job.job_id for job in jobs]


def test_it_begins_with_one_page_and_reads_on_when_it_is_asked(tmp_path):
    jobs = Jobs(250)
    with scripted(tmp_path, **jobs.routes()) as (script, session):
        feed = JobFeed(lambda: session.client)
        assert not feed.begun and feed.jobs() == []
        feed.read_on()
        assert len(feed.jobs()) == 100 and not feed.complete and script.count("list-jobs") == 1
        feed.read_on()
        feed.read_on()
        assert ids(feed.jobs()) == [job["job_id"] for job in jobs.jobs] and feed.complete
        feed.read_on()
        assert script.count("list-jobs") == 3


def test_a_refresh_takes_in_new_jobs_changed_ones_and_those_that_are_gone(tmp_path):
    jobs = Jobs(250)
    with scripted(tmp_path, **jobs.routes()) as (script, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        feed.read_on()
        jobs.jobs[10]["status"] = "FAILED"
        older = jobs.jobs[150]  # on the second page
        older["status"] = "RUNNING"
        gone = jobs.jobs.pop(20)["job_id"]
        jobs.jobs.insert(0, {"job_id": "job-new", "status": "QUEUED"})
        script.asked.clear()
        feed.refresh([older["job_id"]])
        assert script.count("list-jobs") == 1
        known = feed.jobs()
        assert known[0].job_id == "job-new" and gone not in ids(known)
        assert ids(known) == [job["job_id"] for job in jobs.jobs[:200]]
        assert ids(feed.jobs(status=JobStatus.FAILED)) == [jobs.jobs[11]["job_id"]]
        assert feed.job(older["job_id"]).status is JobStatus.RUNNING


def test_after_a_long_sleep_it_begins_anew_instead_of_leaving_a_gap(tmp_path):
    jobs = Jobs(150)
    with scripted(tmp_path, **jobs.routes()) as (_, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        jobs.jobs = [{"job_id": f"late-{n}", "status": "SUCCEEDED"} for n in range(900)] + jobs.jobs
        feed.refresh()
        assert ids(feed.jobs()) == [f"late-{n}" for n in range(500)] and not feed.complete
        while not feed.complete:
            feed.read_on()
        assert ids(feed.jobs()) == [job["job_id"] for job in jobs.jobs]


def test_search_looks_at_name_id_and_model_in_any_case(tmp_path):
    jobs = Jobs(30)
    jobs.jobs[3]["model"] = "Straße-7B"
    with scripted(tmp_path, **jobs.routes()) as (_, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        assert ids(feed.jobs("STRASSE")) == [jobs.jobs[3]["job_id"]]
        assert ids(feed.jobs(" Name 30 ")) == ["job-0030"]
        assert ids(feed.jobs("JOB-0007")) == ["job-0007"]


def test_a_page_that_cannot_be_read_loses_nothing(tmp_path):
    jobs = Jobs(250)
    with scripted(tmp_path, **jobs.routes()) as (_, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        jobs.fails_at = 100
        with pytest.raises(errors.ServiceError):
            feed.read_on()
        assert len(feed.jobs()) == 100 and not feed.complete
        jobs.fails_at = 0
        with pytest.raises(errors.ServiceError):
            feed.refresh()
        assert len(feed.jobs()) == 100
        jobs.fails_at = None
        feed.read_on()
        assert len(feed.jobs()) == 200


def test_another_deployment_is_another_list(tmp_path, demo):
    with scripted(tmp_path, **Jobs(3).routes()) as (_, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        from sutro_magic.api.credentials import make_credentials

        session.use(make_credentials(demo.url, demo.api_key, "a test"))
        feed.refresh()
        assert "job-demo-films" in ids(feed.jobs()) and "job-0003" not in ids(feed.jobs())


def test_what_others_have_heard_of_a_job_holds_until_the_service_says_it_anew(tmp_path):
    jobs = Jobs(150)
    jobs.jobs[0]["status"] = "STARTING"
    with scripted(tmp_path, **jobs.routes()) as (_, session):
        feed = JobFeed(lambda: session.client)
        feed.read_on()
        (job,) = feed.jobs(status=JobStatus.STARTING)
        feed.learn(replace(job, status=JobStatus.RUNNING))
        assert ids(feed.jobs(status=JobStatus.RUNNING)) == [job.job_id]
        assert feed.job(job.job_id).status is JobStatus.RUNNING
        feed.read_on()  # says nothing of it
        assert feed.job(job.job_id).status is JobStatus.RUNNING
        jobs.jobs[0]["status"] = "SUCCEEDED"
        feed.refresh()
        assert feed.job(job.job_id).status is JobStatus.SUCCEEDED
        feed.learn(replace(job, status=JobStatus.RUNNING))  # asked before that, told after
        assert feed.job(job.job_id).status is JobStatus.SUCCEEDED
