"""Downloads in forked processes, that end at an awkward moment, or of a service that talks nonsense."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time

import pytest
from faulty_storage import FaultyService, Reply, json_reply, running
from test_downloads import session_for

pytestmark = pytest.mark.slow


# --- forked processes -----------------------------------------------------------------------------


class ManyJobs(FaultyService):
    """Each job has its own rows."""

    def answer(self, method, path, query, headers):
        found = re.search(r"/jobs/(job-\d+)(/results)?$", path)
        if not found:
            return super().answer(method, path, query, headers)
        job, results = found.groups()
        if not results:
            return json_reply({"job": {"job_id": job, "status": "SUCCEEDED", "num_rows": 500}})
        body = json.dumps({"outputs": [job] * 500}).encode()
        time.sleep(0.02)  # so that the questions of all children are under way at once
        return Reply(200, {"Content-Length": str(len(body))}, body)


def fetch_in_child(session, job, answers):
    answers.put((job, set(session.results(job, format="json").arrow()["outputs"].to_pylist())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_children_of_one_session_get_their_own_results(tmp_path):
    forking = multiprocessing.get_context("fork")
    with running(ManyJobs()) as service:
        session = session_for(service, tmp_path)
        session.job("job-0")  # there is a connection now that they could share
        answers = forking.Queue()
        jobs = [f"job-{number}" for number in range(1, 7)]
        children = [forking.Process(target=fetch_in_child, args=(session, job, answers)) for job in jobs]
        for child in children:
            child.start()
        got = dict(answers.get(timeout=30) for _ in children)
        for child in children:
            child.join()
        assert got == {job: {job} for job in jobs}
        assert session.job("job-0").job_id == "job-0", "the parent's connection still works"
