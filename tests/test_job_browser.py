"""The job browser without a page: what it shows, fetches, binds, keeps secret, and lets go of."""

from __future__ import annotations

import gc
import json
import threading
import time

import ipywidgets
import pytest
from scripted import Jobs, scripted

from sutro_magic.results.handle import Results
from sutro_magic.ui import JobBrowser
from sutro_magic.ui.browser.panels import Panel

pytestmark = pytest.mark.slow

HOSTILE = '<img src=x onerror="globalThis.hacked=1">$x$\x1b[31m\u202e'


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)
    return found


@pytest.fixture
def variables():
    return {}


@pytest.fixture
def browser(session, variables):
    def bind(name, results, as_type):
        variables[name] = results.to(as_type)
        return f"{name}: {as_type}"

    made = JobBrowser(session, bind=bind, namespace=variables)
    until(lambda: rows(made))
    yield made
    made.close()


def rows(browser):
    return browser._jobs.list._state["rows"]


def foot(browser):
    return browser._jobs.list._state["foot"]["text"]


def say(panel, **message):
    """Do what the page does when somebody clicks."""
    panel._handle_custom_msg(message, [])


def choose(browser, job_id):
    def find():
        ids = [row[0][1] for row in rows(browser)]
        return ids.index(job_id) if job_id in ids else None

    if find() is None:
        browser._jobs.search.value = job_id
        until(lambda: find() is not None)
    say(browser._jobs.list, kind="choose", key=find())
    browser._jobs.search.value = ""
    until(lambda: browser._fetch._job is not None and browser._fetch._job.job_id == job_id)


def facts(browser):
    return browser._fetch.facts._state


def tasks(browser):
    return browser._tasks.panel._state.get("tasks", [])


def fetch(browser, job_id, state="done", **options):
    choose(browser, job_id)
    for name, value in options.items():
        getattr(browser._fetch, name).value = value
    browser._fetch.fetch.click()
    until(lambda: tasks(browser) and tasks(browser)[-1]["state"] != "running")
    assert tasks(browser)[-1]["state"] == state, tasks(browser)[-1]
    return tasks(browser)[-1]


def said(browser):
    return [entry["text"] for entry in browser._result.said._state["notes"]]


# --- the list -------------------------------------------------------------------------------------


def test_the_newest_jobs_are_listed_with_all_that_the_list_tells(browser):
    reviews = next(row for row in rows(browser) if row[0][1] == "job-demo-reviews")
    assert reviews[0] == ["Film reviews, judged", "job-demo-reviews"]
    assert reviews[1:4] == ["SUCCEEDED", "gpt-oss-20b", "2,000"]
    assert reviews[5:] == ["1 min 34 s", "$0.0173", ""]
    assert foot(browser).startswith("1 to 10 of 2")


def test_pages_are_turned_and_jobs_found_by_search_and_status(browser):
    first = [row[0][1] for row in rows(browser)]
    say(browser._jobs.list, kind="page", by=1)
    second = [row[0][1] for row in rows(browser)]
    assert not set(first) & set(second) and foot(browser).startswith("11 to 20")
    browser._jobs.status.value = "FAILED"
    assert {row[1] for row in rows(browser)} == {"FAILED"} and foot(browser).startswith("1 to ")
    browser._jobs.status.value = ""
    browser._jobs.search.value = "HAIKU"
    assert {row[0][1] for row in rows(browser)} == {"job-demo-long", "job-demo-haiku"}
    browser._jobs.search.value = "no job is called that"
    until(lambda: browser._jobs.list._state["empty"] == "No job fits the search and the status.")


def test_five_thousand_jobs_open_in_the_time_of_one_page_and_are_searched_through(tmp_path):
    jobs = Jobs(5_000)
    with scripted(tmp_path, **jobs.routes()) as (script, session):
        browser = JobBrowser(session)
        until(lambda: rows(browser))
        assert script.count("list-jobs") == 1 and foot(browser) == "1 to 10 of 100, and older ones"
        browser._jobs.search.value = "name 7"
        until(lambda: foot(browser) == "1 to 10 of 111 found among 5,000")
        assert script.count("list-jobs") == 50
        browser._jobs.search.value = "job-0001"
        assert [row[0][1] for row in rows(browser)] == ["job-0001"]
        assert script.count("list-jobs") == 50
        browser.close()


def test_when_one_page_of_the_list_fails_the_others_stay_and_it_can_be_tried_again(tmp_path):
    jobs = Jobs(250)
    jobs.fails_at = 100
    with scripted(tmp_path, **jobs.routes()) as (_, session):
        browser = JobBrowser(session)
        until(lambda: rows(browser))
        for _ in range(10):
            say(browser._jobs.list, kind="page", by=1)
        problem = until(lambda: browser._jobs.problem._state["notes"])[0]
        assert "500" in problem["text"] and problem["label"] == "Try again"
        assert foot(browser).startswith("91 to 100")
        jobs.fails_at = None
        say(browser._jobs.problem, kind="act", action="again")
        until(lambda: foot(browser).startswith("101 to 110") or not browser._jobs.problem._state["notes"])
        say(browser._jobs.list, kind="page", by=1)
        until(lambda: foot(browser).startswith("1") and "200" in foot(browser))
        browser.close()


def test_without_a_key_it_says_what_to_type(tmp_path):
    from sutro_magic import Session

    browser = JobBrowser(Session(cache_dir=tmp_path))
    problem = until(lambda: browser._jobs.problem._state.get("notes"))[0]
    assert "No API key" in problem["text"] and "Session(api_url=" in problem["hint"]  # no magics are loaded
    assert browser._jobs.list._state["empty"] == "The jobs could not be read."
    browser.close()


def test_without_jobs_it_says_where_some_come_from(tmp_path):
    with scripted(tmp_path, **Jobs(0).routes()) as (_, session):
        browser = JobBrowser(session)
        until(lambda: "There are no jobs yet" in browser._jobs.list._state["empty"])
        browser.close()


def test_a_listed_job_that_runs_is_looked_at_again_while_somebody_looks(browser, demo):
    browser._jobs.refresh_seconds = 0.05
    demo.requests.clear()
    time.sleep(0.3)  # nobody looks: nothing may be asked; there is no event to wait for
    assert not [path for _, path in demo.requests if "list-jobs" in path]
    say(browser._jobs.list, kind="seen", id="a", on=True)
    until(lambda: [path for _, path in demo.requests if "list-jobs" in path])
    browser._jobs.keep.value = False
    say(browser._jobs.list, kind="seen", id="a", on=False)


def test_it_is_abandoned_when_its_cell_is_run_again_and_not_before(browser):
    assert not browser.is_abandoned
    say(browser._jobs.list, kind="view", id="a", on=True)
    say(browser._jobs.list, kind="view", id="b", on=True)
    say(browser._jobs.list, kind="view", id="a", on=False)
    assert not browser.is_abandoned
    say(browser._jobs.list, kind="view", id="b", on=False)
    assert browser.is_abandoned


# --- one job --------------------------------------------------------------------------------------


def test_a_chosen_job_shows_all_that_is_known(browser):
    choose(browser, "job-demo-reviews")
    state = facts(browser)
    assert (state["title"], state["badge"]) == ("Film reviews, judged", "SUCCEEDED")
    pairs = {pair[0]: pair[1] for pair in state["pairs"]}
    assert pairs["tokens"] == "116,000 in, 28,000 out" and pairs["cost"] == "$0.0173"
    assert pairs["system prompt"] == "Judge the review. Answer with label and confidence."
    assert json.loads(pairs["JSON schema"])["type"] == "object"
    assert json.loads(pairs["sampling parameters"]) == {"temperature": 0.0, "max_tokens": 64}


def test_a_failed_job_says_why_and_cannot_be_fetched(browser):
    choose(browser, "job-demo-failed")
    assert facts(browser)["notes"][0]["tone"] == "error" and facts(browser)["notes"][0]["text"]
    assert browser._fetch.fetch.disabled
    assert (
        browser._fetch.why._state["notes"][0]["text"]
        == "Nothing to fetch: a job that is FAILED has no results."
    )
    browser._fetch.start()
    assert tasks(browser) == []


def test_a_running_job_is_watched_until_it_is_done_and_fetched_then(browser):
    choose(browser, "job-demo-queued")
    say(browser._jobs.list, kind="seen", id="a", on=True)
    browser._jobs.refresh_seconds = 0.05
    assert browser._fetch.fetch.description == "Wait, then fetch"
    browser._fetch.fetch.click()
    until(lambda: facts(browser)["badge"] == "SUCCEEDED")
    until(lambda: browser.results is not None)
    assert browser.results.num_rows == 240
    assert browser._fetch.fetch.description == "Fetch"


def test_what_a_fetch_hears_of_a_job_is_shown_by_all_parts_at_once(session, demo):
    browser = JobBrowser(session)
    until(lambda: rows(browser))
    browser._jobs.keep.value = False  # the list asks for nothing by itself
    choose(browser, "job-demo-queued")
    seen = []
    browser._jobs.list.observe(lambda _: seen.append(("list", badge(browser))), "_state")
    browser._fetch.facts.observe(lambda _: seen.append(("facts", facts(browser)["badge"])), "_state")
    browser._fetch.fetch.click()
    until(lambda: browser.results is not None)
    until(lambda: facts(browser)["badge"] == badge(browser) == "SUCCEEDED")
    assert ("list", "RUNNING") in seen and ("facts", "RUNNING") in seen
    assert "bar" not in facts(browser)
    until(lambda: "took" in dict(pair[:2] for pair in facts(browser)["pairs"]))
    browser.close()


def badge(browser, job_id="job-demo-queued"):
    return next(row[1] for row in rows(browser) if row[0][1] == job_id)


def test_a_job_that_is_only_watched_is_final_as_soon_as_its_stream_has_ended(session, demo):
    browser = JobBrowser(session)
    until(lambda: rows(browser))
    browser._jobs.keep.value = False
    choose(browser, "job-demo-queued")
    session.job("job-demo-queued")  # the first look starts it
    until(lambda: (browser._jobs.reload("job-demo-queued"), facts(browser)["badge"] != "QUEUED")[1])
    until(lambda: facts(browser)["badge"] == badge(browser) == "SUCCEEDED")
    assert "bar" not in facts(browser)
    browser.close()


# --- fetching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["parquet", "csv", "json"])
def test_a_job_is_fetched_in_each_format_and_can_be_observed(browser, wire):
    seen = []
    browser.observe(lambda change: seen.append(change["new"]), "results")
    fetch(browser, "job-demo-films", format=wire, inputs=True, logprobs=True)
    assert isinstance(seen[-1], Results) and seen[-1] is browser.results
    assert seen[-1].num_rows == 10_000 and seen[-1].provenance.format == wire
    assert {"inputs", "cumulative_logprobs", "genre"} <= set(seen[-1].columns)
    assert browser._result._table.results is browser.results


def test_outputs_stay_text_if_that_is_asked(browser):
    fetch(browser, "job-demo-films", unfold="text, as sent")
    assert browser.results.columns == ["outputs"]


def test_a_fetched_job_is_marked_as_cached(browser):
    fetch(browser, "job-demo-reviews")
    until(lambda: next(row for row in rows(browser) if row[0][1] == "job-demo-reviews")[7] == "✓")


def test_a_fetch_that_fails_says_why_and_can_be_tried_again(browser, demo):
    fetch(browser, "job-demo-reviews")
    before = browser.results
    demo.set_fault("half_parquet")
    line = fetch(browser, "job-demo-films", state="failed")
    assert line["text"] and browser.results is before
    demo.clear_faults()
    say(browser._tasks.panel, kind="act", id=line["id"], action="again")
    until(lambda: browser.results is not before)
    assert browser.results.job_id == "job-demo-films"


def test_a_slow_fetch_can_be_cancelled_and_another_goes_on_meanwhile(browser, demo):
    demo.set_fault("slow", seconds=60, times=1)
    choose(browser, "job-demo-museum")
    browser._fetch.fetch.click()
    slow = until(lambda: next((task for task in tasks(browser) if "Downloading" in task["text"]), None))
    fetch(browser, "job-demo-greetings")
    assert browser.results.job_id == "job-demo-greetings"
    say(browser._tasks.panel, kind="act", id=slow["id"], action="cancel")
    until(lambda: next(task for task in tasks(browser) if task["id"] == slow["id"])["state"] == "cancelled")
    assert browser.results.job_id == "job-demo-greetings"
    assert not [thread for thread in threading.enumerate() if thread.name == "sutro-task"]


def test_pressing_fetch_again_while_it_fetches_begins_nothing_new(browser, demo):
    demo.set_fault("slow", seconds=60, times=1)
    choose(browser, "job-demo-films")
    browser._fetch.fetch.click()
    until(lambda: "Downloading" in tasks(browser)[0]["text"])
    demo.requests.clear()
    for _ in range(3):
        browser._fetch.fetch.click()
    assert len(tasks(browser)) == 1
    browser._fetch.format.value = "csv"  # another fetch, which says what it waits for
    browser._fetch.fetch.click()
    until(lambda: "already being fetched" in tasks(browser)[1]["text"])
    say(browser._tasks.panel, kind="act", id=tasks(browser)[1]["id"], action="cancel")
    until(lambda: tasks(browser)[1]["state"] == "cancelled")
    say(browser._tasks.panel, kind="act", id=tasks(browser)[0]["id"], action="cancel")
    until(lambda: tasks(browser)[0]["state"] == "cancelled")
    assert [path for _, path in demo.requests if "results" in path] == [] and browser.results is None
    fetch(browser, "job-demo-films")  # now it begins
    assert browser.results.num_rows == 10_000


def test_a_fetch_that_was_cancelled_goes_on_where_it_stopped(browser, demo):
    demo.set_fault("slow", seconds=60, times=1)
    choose(browser, "job-demo-films")
    browser._fetch.fetch.click()
    slow = until(lambda: next((task for task in tasks(browser) if "%" in task["text"]), None))
    say(browser._tasks.panel, kind="act", id=slow["id"], action="cancel")
    over = until(lambda: next((task for task in tasks(browser) if task["state"] == "cancelled"), None))
    assert "of the download are kept" in over["text"]
    demo.clear_faults()
    say(browser._tasks.panel, kind="act", id=slow["id"], action="again")
    until(lambda: tasks(browser)[-1]["state"] == "done")
    assert "were here from before" in tasks(browser)[-1]["text"] and browser.results.num_rows == 10_000


def test_lines_of_work_that_is_over_do_not_pile_up(browser, tmp_path):
    fetch(browser, "job-demo-greetings")
    for _ in range(3):
        assert (
            fetch(browser, "job-demo-greetings", format="csv")["text"]
            == "From the cache: fetched as parquet just now"
        )
    assert len(tasks(browser)) == 2
    for number in range(3):
        path = str(tmp_path / f"{number}.csv")
        browser._result.path.value = path
        browser._result.save.click()
        until(
            lambda path=path: (
                (tasks(browser)[-1]["title"], tasks(browser)[-1]["state"]) == (f"Save {path}", "done")
            )
        )
        assert len(tasks(browser)) == 3
    fetch(browser, "job-demo-reviews", format="parquet")
    fetch(browser, "job-demo-films")
    assert len(tasks(browser)) == 3
    for task in tasks(browser):
        say(browser._tasks.panel, kind="act", id=task["id"], action="dismiss")
    assert tasks(browser) == []


# --- variables and files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_type", "kind"), [("pandas", "pandas"), ("polars", "polars"), ("arrow", "pyarrow")]
)
def test_results_are_bound_as_each_type(browser, variables, as_type, kind):
    fetch(browser, "job-demo-films")
    assert browser._result.name.value == "ten_thousand_films"
    browser._result.as_type.value = as_type
    browser._result.bind.click()
    assert type(variables["ten_thousand_films"]).__module__.startswith(kind)
    assert len(variables["ten_thousand_films"]) == 10_000
    assert said(browser)[0].startswith("Bound: ten_thousand_films")


@pytest.mark.parametrize(
    ("name", "words", "free"),
    [("class", "is a keyword", False), ("list", "would hide", False), ("my films", "cannot be the name", False),
     ("", "Give the variable a name", False), ("mine", "mine is not used yet", True), ("held", "held holds a list of 3 now", True)],
)  # fmt: skip
def test_the_name_of_a_variable_is_judged_as_it_is_typed(browser, variables, name, words, free):
    variables["held"] = [1, 2, 3]
    fetch(browser, "job-demo-greetings")
    browser._result.name.value = name
    assert words in said(browser)[0]
    assert browser._result.bind.disabled is not free
    browser._result._bind_now()
    assert (name in variables) == free and variables["held"] is not None


def test_what_is_said_to_somebody_with_a_mouse_names_no_flags(browser):
    captions = []
    for unfold, job_id in (
        ("columns where they fit", "job-demo-broken"),
        ("text, as sent", "job-demo-films"),
        ("columns where they fit", "job-demo-haiku"),
    ):
        for _ in range(2):  # from the service and from the cache
            fetch(browser, job_id, unfold=unfold)
            captions += browser._result._table._setup["caption"]
            captions.append(browser._result._table._setup["details"])
    fetch(browser, "job-demo-greetings")
    table = browser._result._table
    table._answer_prompts({})["after"]()
    assert "inputs" in table.results.columns
    captions += [*table._setup["caption"], table._setup["details"]]
    for name in ("class", "print", "_", "1df"):
        browser._result.name.value = name
        captions += [browser._result.said._state["notes"][0]["hint"]]
    assert [text for text in captions if "--" in text or "%" in text or "my__" in text] == []


def test_it_is_said_whose_rows_they_are_and_that_none_are_ticked(browser, variables, tmp_path):
    fetch(browser, "job-demo-greetings")
    fetch(browser, "job-demo-reviews")
    say(browser._jobs.list, kind="choose", key=0)
    assert browser._result.head._state["title"] == "Film reviews, judged (job-demo-reviews)"
    browser._result.part.value = "selected"
    browser._result.bind.click()
    (line,) = browser._result.said._state["notes"]
    assert line["text"] == "No rows are ticked." and line["hint"].startswith("Tick some in the table")
    browser._result.part.value = "all"
    assert said(browser) == ["film_reviews_judged is not used yet."]  # the error is answered
    browser._result.part.value = "selected"
    browser._result.path.value = str(tmp_path / "none.parquet")
    browser._result.save.click()
    assert said(browser) == ["No rows are ticked."]
    assert "film_reviews_judged" not in variables and not list(tmp_path.glob("none*"))


def test_rows_that_the_table_shows_or_has_ticked_are_bound(browser, variables):
    fetch(browser, "job-demo-reviews")
    browser._result._table.selected_rows = [3, 5]
    browser._result.part.value = "selected"
    browser._result.name.value = "ticked"
    browser._result.bind.click()
    assert list(variables["ticked"]["_row"]) == [3, 5]


@pytest.mark.parametrize(
    ("kind", "ending"), [("Parquet", ".parquet"), ("CSV", ".csv"), ("JSON Lines", ".jsonl")]
)
def test_results_are_saved_in_each_format_and_nothing_is_overwritten_unasked(browser, tmp_path, kind, ending):
    fetch(browser, "job-demo-films")
    browser._result.kind.value = kind
    assert browser._result.path.value == f"ten_thousand_films{ending}"
    target = tmp_path / f"films{ending}"
    browser._result.path.value = str(target)
    browser._result.save.click()
    until(lambda: "Saved 10,000 rows" in "".join(said(browser)))
    size = target.stat().st_size
    target.write_bytes(b"mine")
    browser._result.save.click()
    (line,) = browser._result.said._state["notes"]  # what was saved before is not said any more
    assert target.name in line["text"] and "exists already" in line["text"]
    assert (
        line["tone"] == "error" and line["hint"] == "Tick “replace” to write over it, or give another name."
    )
    assert target.read_bytes() == b"mine"
    browser._result.replace.value = True
    browser._result.save.click()
    until(lambda: target.stat().st_size == size)
    until(lambda: "Saved 10,000 rows" in "".join(said(browser)))


def test_only_the_last_word_on_a_file_is_said(browser, tmp_path):
    fetch(browser, "job-demo-greetings")
    browser._result.path.value = ""
    browser._result.save.click()
    assert said(browser) == ["Give the file a name."]
    browser._result.path.value = str(tmp_path / "s.xlsx")
    assert "Give the file a name." not in said(browser)
    browser._result.save.click()
    (line,) = browser._result.said._state["notes"]
    assert "has no suffix of a supported format" in line["text"] and line["hint"].endswith("like s.parquet.")
    target = tmp_path / "greetings.csv"
    browser._result.path.value = str(target)
    browser._result.save.click()
    until(lambda: said(browser)[0:1] and said(browser)[0].startswith("Saved"))
    target.unlink()
    target.mkdir()
    browser._result.save.click()
    assert len(said(browser)) == 1 and "is a folder" in said(browser)[0]


def test_a_fetch_that_ends_takes_no_table_away_that_is_in_use(browser, demo):
    fetch(browser, "job-demo-reviews")
    reviews, table = browser.results, browser._result._table
    demo.set_fault("slow", seconds=3, times=1)
    choose(browser, "job-demo-museum")
    browser._fetch.fetch.click()
    table._handle_custom_msg(
        {"kind": "page", "id": "1", "start": 0, "length": 10, "query": {"search": "a"}}, []
    )
    browser._result.name.value = "mine"
    table.selected_rows = [3]
    line = until(
        lambda: next((t for t in tasks(browser) if "museum" in t["title"] and t["state"] == "done"), None)
    )
    assert browser.results is reviews and browser._result._table is table
    assert browser._result.name.value == "mine" and list(table.selected_rows) == [3]
    assert line["hint"].startswith("Show puts them in place of the table") and line["actions"][0][:2] == [
        "show",
        "Show",
    ]
    until(lambda: next(row for row in rows(browser) if row[0][1] == "job-demo-museum")[-1] == "✓")
    say(browser._tasks.panel, kind="act", id=line["id"], action="show")
    assert (
        browser.results.job_id == "job-demo-museum"
        and browser._result.name.value == "labels_of_a_small_museum"
    )
    assert next(t for t in tasks(browser) if t["id"] == line["id"])["hint"] is None
    fetch(browser, "job-demo-greetings")  # nobody used the table meanwhile
    assert browser.results.job_id == "job-demo-greetings"


@pytest.mark.parametrize("fault", ["half_parquet", "wrong_rows"])
def test_beside_a_button_no_hint_speaks_of_a_cell(browser, demo, fault):
    demo.set_fault(fault)
    line = fetch(browser, "job-demo-haiku", state="failed")
    assert line["actions"][0][:2] == ["again", "Try again"]
    assert "%sutro" not in (line["hint"] or "") and "cell" not in (line["hint"] or "")


# --- the cache ------------------------------------------------------------------------------------


def test_the_cache_is_listed_verified_shown_and_deleted(browser, session):
    fetch(browser, "job-demo-films", inputs=True)
    fetch(browser, "job-demo-greetings", inputs=False)
    cache = browser._cache
    say(cache.list, kind="seen", id="a", on=True)
    until(lambda: len(cache.list._state["rows"]) == 2)
    assert (
        "2 results" in cache.list._state["foot"]["text"] and "of at most" in cache.list._state["foot"]["text"]
    )
    place = [row[0][1] for row in cache.list._state["rows"]].index("job-demo-films")
    say(cache.list, kind="choose", key=place)
    assert "inputs" in dict(cache.facts._state["pairs"])["columns"]
    cache.show.click()
    until(lambda: browser.results.job_id == "job-demo-films")
    assert browser.results.from_cache
    cache.verify.click()
    until(lambda: cache.facts._state["notes"] and "sound" in cache.facts._state["notes"][0]["text"])
    cache.delete.click()
    assert cache.delete.description == "Really delete?" and len(session.cache.entries()) == 2
    for other in (
        lambda: say(cache.list, kind="seen", id="a", on=False),
        cache.verify.click,
        lambda: say(cache.list, kind="choose", key=place),
    ):
        other()
        assert cache.delete.description == "Delete"  # to do something else was to say no
        cache.delete.click()
    assert len(session.cache.entries()) == 2
    cache.delete.click()
    until(lambda: len(cache.list._state["rows"]) == 1)
    assert [entry.request.job_id for entry in session.cache.entries()] == ["job-demo-greetings"]
    assert cache.show.disabled


def test_show_reads_the_cache_only_and_says_that_an_entry_is_gone(browser, session, demo):
    fetch(browser, "job-demo-greetings")
    say(browser._cache.list, kind="seen", id="a", on=True)
    until(lambda: browser._cache.list._state["rows"])
    say(browser._cache.list, kind="choose", key=0)
    session.cache.clear()
    demo.requests.clear()
    shown = browser.results
    browser._cache.show.click()
    said = until(lambda: browser._cache.facts._state["notes"])[0]
    assert "no longer in the cache" in said["text"] and said["hint"] == "Fetch it again under Jobs."
    assert browser._cache.list._state["rows"] == [] and browser._cache.show.disabled
    assert not [path for _, path in demo.requests if "results" in path] and browser.results is shown
    assert session.cache.entries() == []


def test_what_was_fetched_and_then_cleared_from_the_cache_says_so_instead_of_nothing(browser, session):
    line = fetch(browser, "job-demo-greetings")
    fetch(browser, "job-demo-reviews")
    session.cache.clear()
    say(browser._tasks.panel, kind="act", id=line["id"], action="show")
    line = next(task for task in tasks(browser) if task["id"] == line["id"])
    assert line["state"] == "failed" and ["again", "Try again", "start this again"] in line["actions"]


def test_a_damaged_entry_is_found_by_verifying_it_and_never_used_again(browser, session):
    fetch(browser, "job-demo-films")
    (entry,) = session.cache.entries()
    data = bytearray(entry.path.read_bytes())
    data[len(data) // 2] ^= 1
    entry.path.write_bytes(data)
    say(browser._cache.list, kind="seen", id="a", on=True)
    until(lambda: browser._cache.list._state["rows"])
    say(browser._cache.list, kind="choose", key=0)
    browser._cache.verify.click()
    until(
        lambda: (
            browser._cache.facts._state["notes"]
            and browser._cache.facts._state["notes"][0]["tone"] == "error"
        )
    )
    assert browser._cache.list._state["rows"] == [] and browser._cache.show.disabled
    assert not entry.path.exists()
    until(lambda: all(row[7] == "" for row in rows(browser)))
    assert not session.results("job-demo-films").from_cache


# --- secrets, hostile text, and an end ------------------------------------------------------------


def all_state():
    return json.dumps(
        {key: widget.get_state() for key, widget in ipywidgets.widgets.widget._instances.items()}, default=str
    )


def test_no_key_and_no_signed_url_is_in_the_state_of_any_widget(browser, demo):
    fetch(browser, "job-demo-films")
    demo.set_fault("cut")
    fetch(browser, "job-demo-museum", state="failed")
    demo.clear_faults()
    demo.set_fault("401")
    fetch(browser, "job-demo-greetings", state="failed")
    state = all_state()
    assert "Film reviews, judged" in state
    for secret in (demo.api_key, demo.api_key[8:], "X-Amz-Signature", "X-Amz"):
        assert secret not in state


def test_hostile_texts_are_in_panels_only_which_show_text(tmp_path):
    """Controls of ipywidgets set labels as HTML or formulas in places: nothing of a service may get there."""
    job = {"job_id": "job-1", "status": "FAILED", "name": HOSTILE, "model": HOSTILE, "system_prompt": HOSTILE,
           "description": HOSTILE, "failure_reason": {"message": HOSTILE}, "json_schema": {HOSTILE: HOSTILE}, "num_rows": 1}  # fmt: skip
    with scripted(tmp_path, list_jobs=lambda *_: {"jobs": [job]}, jobs=lambda *_: {"job": job}) as (
        _,
        session,
    ):
        before = set(ipywidgets.widgets.widget._instances)
        browser = JobBrowser(session)
        until(lambda: rows(browser))
        choose(browser, "job-1")
        made = {key: w for key, w in ipywidgets.widgets.widget._instances.items() if key not in before}
        shown = [w for w in made.values() if "onerror" in json.dumps(w.get_state(), default=str)]
        assert shown and all(isinstance(widget, Panel) for widget in shown)
        assert "\x1b" not in str([widget._state for widget in shown])
        browser.close()


def test_twenty_rounds_leave_no_widgets_threads_or_connections(session, demo):
    def one_round():
        browser = JobBrowser(session)
        until(lambda: rows(browser))
        fetch(browser, "job-demo-reviews")
        choose(browser, "job-demo-long")
        browser.close()

    def census():
        gc.collect()
        return (
            len(ipywidgets.widgets.widget._instances),
            sum(
                thread.name.startswith("sutro-") and "demo" not in thread.name
                for thread in threading.enumerate()
            ),
            len(demo._server._open),
        )

    one_round()
    until(lambda: census()[1] == 0, seconds=20)
    before = census()
    for _ in range(20):
        one_round()
    until(lambda: census()[0] == before[0] and census()[1] == 0, seconds=20)
    until(lambda: census()[2] <= before[2] + 2, seconds=20)
