"""The job browser as a person uses it in JupyterLab: hostile texts first, then every state, by mouse and keyboard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from hostile import CORPUS
from jlab import (
    cell_output,
    command,
    external_requests,
    kernel_eval,
    notebook,
    open_notebook,
    run_cell,
    screenshot,
    set_kernel_env,
    set_theme,
    wait_until_idle,
)
from playwright.sync_api import expect

from sutro_magic.demo import DemoService

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripted import API_KEY, Jobs, scripted

SCREENSHOTS = os.environ.get("SUTRO_MAGIC_SCREENSHOTS")
BROWSE = ["%load_ext sutro_magic", "b = %sutro_browse\nb"]


@pytest.fixture
def watched():
    """A demo service whose queued job can be watched."""
    with DemoService(watch_seconds=12) as service:
        yield service


@pytest.fixture
def opened(lab_server, page, tmp_path):
    """Open a notebook whose second cell is the browser, for a service at an address."""

    def opened(url, key, *more):
        notebook(lab_server.root / "browse.ipynb", [*BROWSE, *more])
        open_notebook(page, lab_server, "browse.ipynb")
        env = {"SUTRO_API_URL": url, "SUTRO_API_KEY": key, "SUTRO_MAGIC_CACHE_DIR": str(tmp_path / "cache")}
        set_kernel_env(page, env)
        run_cell(page, 0)
        run_cell(page, 1)
        return cell_output(page, 1)

    return opened


def picture(page, name):
    """Keep pictures of one state: both themes, wide and narrow."""
    if not SCREENSHOTS:
        return
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 1500})
        for dark in (False, True):
            set_theme(page, dark)
            path = Path(SCREENSHOTS) / f"browser-{name}-{width}-{'dark' if dark else 'light'}.png"
            screenshot(page, path)
    set_theme(page, dark=False)
    page.set_viewport_size({"width": 1400, "height": 1000})


def job(browser, text):
    return browser.locator(".sb-list:visible tbody tr[data-key]", has_text=text)


def facts(browser):
    return browser.locator(".sb-facts:visible")


def task(browser, text):
    return browser.locator(".sb-task", has_text=text).last


def press(browser, name):
    browser.get_by_role("button", name=name).first.click()


# --- hostile texts ---------------------------------------------------------------------------------


def test_hostile_texts_do_nothing_but_show_themselves(opened, page, traffic, tmp_path):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    jobs = [
        {"job_id": f"{text}{number}", "name": text, "model": text, "description": text, "system_prompt": text,
         "json_schema": {text: text}, "sampling_params": {text: text}, "status": text if number % 2 else "FAILED",
         "failure_reason": {"message": text, "additional_context": text}, "num_rows": 3}
        for number, text in enumerate(CORPUS)
    ]  # fmt: skip
    routes = {
        "list_jobs": lambda _path, _query: {"jobs": jobs},
        "jobs": lambda _path, _query: 404,
        "job_status": lambda _path, _query: {"job_status": {"x": CORPUS[0]}},
    }
    with scripted(tmp_path, **routes) as (script, _):
        browser = opened(script.url, API_KEY)
        for _ in range((len(CORPUS) - 1) // 10 + 1):
            rows = browser.locator(".sb-list:visible tbody tr[data-key]")
            expect(rows.first).to_be_visible()
            for place in range(rows.count()):
                rows.nth(place).click()
                title = rows.nth(place).locator(".sb-title").inner_text()
                expect(browser.locator(".sb-split .sb-head b")).to_have_text(title)
                for long in browser.locator("details.sb-long summary").all():
                    long.click()
            older = browser.get_by_role("button", name="older ▶")
            if older.is_visible() and older.is_enabled():
                before = rows.first.inner_text()
                older.click()
                expect(rows.first).not_to_have_text(before, use_inner_text=True)
        expect(browser.locator(".sb-error").last).to_be_visible()
        job(browser, CORPUS[-3]).first.click()
        press(browser, "Fetch")  # its failure says the id
        expect(browser.locator(".sb-task-failed")).to_be_visible()
        browser.get_by_placeholder("Search name, id, model").fill(CORPUS[0])
        expect(job(browser, "owned")).to_have_count(sum(CORPUS[0] in text for text in CORPUS))
        picture(page, "hostile")
    assert asked == []
    owned = "() => document.querySelectorAll('.sutro-panel :is(img, iframe, svg, video, base, link, meta, script, style)').length"
    assert page.evaluate(owned) == 0
    assert page.locator("mjx-container").count() == 0
    assert [url for url in traffic.requests if "sutro-owned" in url] == []
    assert "owned" not in page.title()
    assert external_requests(traffic) == []


# --- the whole way ---------------------------------------------------------------------------------


def test_a_running_job_is_found_watched_fetched_in_each_format_bound_and_used(opened, page, traffic, watched):
    browser = opened(
        watched.url,
        watched.api_key,
        "print(zoo_mail_of_this_morning.shape, letters.num_rows, type(letters).__name__)",
    )
    browser.get_by_placeholder("Search name, id, model").fill("zoo mail")
    expect(browser.locator(".sb-list:visible tbody tr[data-key]")).to_have_count(1)
    job(browser, "Zoo mail").click()
    expect(facts(browser)).to_contain_text("Watch me")
    bar = browser.locator(".sb-progress .sb-bar")
    expect(bar).to_be_visible(timeout=30_000)
    expect(browser.locator(".sb-progress")).to_contain_text("of 240 rows")
    picture(page, "running")
    press(browser, "Wait, then fetch")
    expect(job(browser, "Zoo mail").locator(".sb-badge")).to_have_text("SUCCEEDED", timeout=30_000)
    expect(task(browser, "Zoo mail").get_by_role("button", name="Show")).to_be_visible()
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 240")
    expect(job(browser, "Zoo mail")).to_contain_text("✓")
    picture(page, "fetched")
    expect(browser.locator(".sb-note", has_text="is not used yet")).to_be_visible()
    press(browser, "Bind")
    expect(browser.locator(".sb-good")).to_contain_text("zoo_mail_of_this_morning · DataFrame 240 × 3")

    for wire in ("csv", "json"):
        browser.get_by_label("Format").select_option(wire)
        browser.get_by_label("with prompts (inputs)").check()
        press(browser, "Fetch")
        expect(task(browser, f"as {wire}").get_by_role("button", name="Show")).to_be_visible()
        expect(browser.locator("th", has_text="inputs")).to_be_visible()
    name = browser.get_by_placeholder("name", exact=True)
    name.fill("zoo_mail_of_this_morning")
    expect(browser.locator(".sb-warn:visible")).to_contain_text(
        "holds a DataFrame of 240 × 3 now; Bind replaces it"
    )
    name.fill("lambda")
    expect(browser.locator(".sb-error")).to_contain_text("is a keyword of Python")
    expect(browser.get_by_role("button", name="Bind").first).to_be_disabled()
    picture(page, "wrong-name")
    name.fill("letters")
    browser.locator("select").filter(has_text="polars").first.select_option("arrow")
    press(browser, "Bind")
    expect(browser.locator(".sb-good")).to_contain_text("letters · Arrow table")
    run_cell(page, 2)
    expect(cell_output(page, 2)).to_have_text("(240, 3) 240 Table")
    assert traffic.errors == [] and external_requests(traffic) == []


def test_keys_typed_in_the_browser_are_no_commands_to_the_notebook(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    count = cells.count()
    job(browser, "Ten thousand films").click()
    page.keyboard.press("x")
    expect(cells).to_have_count(count)
    press(browser, "Refresh")
    for key in ("x", "a", "b"):
        page.keyboard.press(key)
        expect(cells).to_have_count(count)
    expect(job(browser, "Ten thousand films")).to_be_visible()


def test_a_chosen_row_stays_marked_under_the_mouse(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    row = job(browser, "Film reviews")
    row.click()
    expect(row).to_have_class("sb-chosen")
    look = "e => { const s = getComputedStyle(e); return [s.backgroundColor, s.boxShadow]; }"
    for dark in (False, True):
        set_theme(page, dark)
        row.hover()
        hovered = row.evaluate(look)
        job(browser, "Ten thousand films").hover()
        assert row.evaluate(look) == hovered != job(browser, "Ten thousand films").evaluate(look)


def test_controls_look_like_one_piece_in_both_themes(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    job(browser, "Ten thousand films").click()
    press(browser, "Fetch")
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 10,000")
    font = "e => getComputedStyle(e).fontFamily"
    fonts = {control.evaluate(font) for control in browser.locator("input, select, button, .sb-title").all()}
    assert len(fonts) == 1, fonts
    middle = "e => { const b = e.getBoundingClientRect(); return b.y + b.height / 2; }"
    for box in browser.locator(".widget-checkbox:visible").all():
        text = box.locator("span").last.evaluate(middle)
        assert abs(box.locator("input").evaluate(middle) - text) <= 2
    path = browser.get_by_placeholder("file")
    assert path.evaluate("e => e.scrollWidth <= e.clientWidth")
    lines = browser.locator(".st-caption > div")
    assert browser.locator(".sb-head b").last.inner_text() == "Ten thousand films (job-demo-films)"
    assert lines.first.inner_text().startswith("10,000 × 6 · ")
    weights = lines.evaluate_all("all => all.map(e => getComputedStyle(e).fontWeight)")
    assert set(weights) == {"400"}  # the title is above
    set_theme(page, True)
    for select in browser.locator(".widget-dropdown select:visible").all():
        arrow = select.evaluate("e => getComputedStyle(e).backgroundImage")
        assert "rgb(255, 255, 255)" in arrow and "url" not in arrow
    picture(page, "controls")
    set_theme(page, False)
    job(browser, "Ten thousand films").focus()
    browser.get_by_placeholder("Search name, id, model").fill("was not there")
    job(browser, "A list that was not there").click()
    expect(browser.get_by_text("Nothing to fetch: a job that is FAILED has no results.")).to_be_visible()


def test_names_have_room_where_the_page_is_narrow(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    row = job(browser, "Zoo mail")
    expect(row.locator(".sb-clock")).to_be_visible()
    page.set_viewport_size({"width": 1150, "height": 1000})
    expect(row.locator(".sb-clock")).to_be_hidden()
    expect(row.locator(".sb-date-cell")).to_be_visible()
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
    titles = browser.locator(".sb-title")
    assert titles.evaluate_all(cut) == []
    picture_now(page, "narrow", 1150)


def test_rows_that_the_table_leaves_are_saved(opened, page, demo, tmp_path):
    browser = opened(demo.url, demo.api_key)
    job(browser, "Film reviews").click()
    press(browser, "Fetch")
    browser.locator(".st-search").fill("mixed")
    expect(browser.locator(".dt-info")).to_contain_text("found among 2,000")
    browser.locator("select").filter(has_text="the rows shown").first.select_option("the rows shown")
    target = tmp_path / "mixed.jsonl"
    path = browser.get_by_placeholder("file")
    path.fill(str(target))
    path.press("Enter")
    browser.get_by_role("button", name="Save").last.click()
    expect(browser.locator(".sb-good")).to_contain_text("Saved")
    lines = target.read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) < 2_000 and all('"mixed"' in line for line in lines)


# --- when things are slow, fail or stop --------------------------------------------------------------


def test_a_slow_fetch_goes_on_beside_another_and_beside_a_running_cell_and_can_be_cancelled(
    opened, page, demo
):
    waiting = "import time\nend = time.time() + 60\nwhile not globals().get('go_on') and time.time() < end:\n    time.sleep(0.05)\nprint('over')"
    browser = opened(demo.url, demo.api_key, waiting)
    demo.set_fault("slow", seconds=40, times=2)
    for name in ("Labels of a small museum", "Film reviews"):
        job(browser, name).click()
        expect(browser.locator(".sb-split .sb-head b")).to_contain_text(name)
        press(browser, "Fetch")
        expect(task(browser, name)).to_contain_text("Downloading")
    expect(browser.locator(".sb-task-running")).to_have_count(2)
    run_cell(page, 2, wait=False)
    expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_be_visible()
    first = task(browser, "museum").locator(".sb-task-text").inner_text()
    expect(task(browser, "museum").locator(".sb-task-text")).not_to_have_text(first)  # it moves meanwhile
    picture_now(page, "two-fetches-and-a-cell")
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt().then(() => true)"
    )
    expect(cell_output(page, 2)).to_contain_text("KeyboardInterrupt")
    task(browser, "museum").get_by_role("button", name="cancel this").click()
    expect(task(browser, "museum")).to_have_class("sb-task sb-task-cancelled")
    expect(browser.locator(".sb-task-running")).to_have_count(1)
    picture(page, "cancelled")
    demo.clear_faults()
    expect(task(browser, "Film reviews").get_by_role("button", name="Show")).to_be_visible()
    task(browser, "museum").get_by_role("button", name="start this again").click()
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 500")


def picture_now(page, name, width=1400):
    """Keep a picture while the kernel is busy."""
    if SCREENSHOTS:
        page.set_viewport_size({"width": width, "height": 1500})
        page.screenshot(path=Path(SCREENSHOTS) / f"browser-{name}.png")
        page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_fetch_that_fails_in_the_middle_says_why_and_loses_nothing(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    job(browser, "Film reviews").click()
    press(browser, "Fetch")
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 2,000")
    demo.set_fault("half_parquet")
    job(browser, "Ten thousand films").click()
    expect(browser.locator(".sb-split .sb-head b")).to_contain_text("Ten thousand films")
    press(browser, "Fetch")
    failed = task(browser, "Ten thousand films")
    expect(failed).to_have_class("sb-task sb-task-failed")
    expect(failed).to_contain_text("truncated or damaged")
    expect(failed.locator(".sb-hint")).to_have_count(0)  # the button says what to do
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 2,000")
    picture(page, "failed-fetch")
    demo.clear_faults()
    failed.get_by_role("button", name="start this again").click()
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 10,000")


def test_a_service_that_is_stopped_and_started_again(opened, page, demo):
    browser = opened(
        demo.url, demo.api_key, "%sutro_demo", "%sutro_demo stop", "%sutro_demo", "%sutro_login?"
    )
    run_cell(page, 2)
    press(browser, "Refresh")
    expect(job(browser, "Zoo mail")).to_be_visible()
    kernel_eval(page, "import os; os.environ.pop('SUTRO_API_URL'); os.environ.pop('SUTRO_API_KEY')")
    run_cell(page, 3)
    press(browser, "Refresh")
    expect(browser.locator(".sb-error")).to_contain_text("No API key")
    expect(browser.locator(".sb-error .sb-hint")).to_contain_text("%sutro_login")
    picture(page, "no-key")
    run_cell(page, 4)
    press(browser, "Try again")
    expect(job(browser, "Zoo mail")).to_be_visible()
    expect(browser.locator(".sb-error")).to_have_count(0)


def test_a_list_that_cannot_be_reached_says_so_and_can_be_tried_again(opened, page, demo):
    browser = opened("http://127.0.0.1:9", "sk_nobody")
    expect(browser.locator(".sb-error")).to_contain_text("127.0.0.1:9 cannot be reached", timeout=60_000)
    picture(page, "down")
    set_kernel_env(page, {"SUTRO_API_URL": demo.url, "SUTRO_API_KEY": demo.api_key})
    press(browser, "Try again")
    expect(job(browser, "Film reviews")).to_be_visible()


def test_no_jobs_and_five_thousand_jobs(opened, page, tmp_path):
    jobs = Jobs(0)
    with scripted(tmp_path, **jobs.routes()) as (script, _):
        browser = opened(script.url, API_KEY)
        expect(browser.locator(".sb-empty:visible")).to_contain_text("There are no jobs yet")
        picture(page, "empty")
        jobs.jobs = Jobs(5_000).jobs
        script.asked.clear()
        press(browser, "Refresh")
        expect(browser.locator(".sb-foot").first).to_contain_text("1 to 10 of 100, and older ones")
        assert script.count("list-jobs") == 1
        browser.get_by_placeholder("Search name, id, model").fill("name 49")
        expect(browser.locator(".sb-foot").first).to_contain_text("1 to 10 of 111 found among 5,000")
        press(browser, "older ▶")
        expect(browser.locator(".sb-foot").first).to_contain_text("11 to 20 of 111")
        jobs.fails_at = 0
        press(browser, "Refresh")
        expect(browser.locator(".sb-error").first).to_contain_text("500", timeout=60_000)
        expect(browser.locator(".sb-foot").first).to_contain_text("11 to 20 of 111")


# --- the cache ---------------------------------------------------------------------------------------


def test_the_cache_tab_shows_checks_and_deletes(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    browser.get_by_role("tab", name="Cache").click()
    expect(browser.locator(".sb-empty:visible")).to_contain_text("Nothing is cached")
    picture(page, "cache-empty")
    browser.get_by_role("tab", name="Jobs").click()
    for name in ("Film reviews", "Greetings"):
        job(browser, name).click()
        expect(browser.locator(".sb-split .sb-head b")).to_contain_text(name)
        press(browser, "Fetch")
        expect(task(browser, name).get_by_role("button", name="Show")).to_be_visible()
    browser.get_by_role("tab", name="Cache").click()
    expect(browser.locator(".sb-foot:visible")).to_contain_text("2 results")
    job(browser, "Film reviews").click()
    expect(facts(browser)).to_contain_text("results.parquet")
    press(browser, "Verify")
    expect(browser.locator(".sb-good")).to_contain_text("sound")
    browser.get_by_role("tabpanel", name="Cache").or_(browser).get_by_role(
        "button", name="Show"
    ).first.click()
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 2,000")
    picture(page, "cache")
    press(browser, "Delete")
    press(browser, "Really delete?")
    expect(browser.locator(".sb-foot:visible")).to_contain_text("1 result,")
    expect(job(browser, "Film reviews")).to_have_count(0)


# --- keyboard, saved notebooks, the end of a kernel ---------------------------------------------------


def test_everything_is_reached_by_keyboard(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    expect(job(browser, "Zoo mail")).to_be_visible()
    search = browser.get_by_placeholder("Search name, id, model")
    search.focus()
    page.keyboard.type("film")
    expect(browser.locator(".sb-foot").first).to_contain_text("found among")
    expect(job(browser, "Film reviews")).to_be_visible()
    expect(job(browser, "Zoo mail")).to_have_count(0)  # has an f, but no film
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.closest('tr')?.dataset.key !== undefined"):
            break
    page.keyboard.press("Enter")
    expect(browser.locator(".sb-split .sb-head b")).to_have_text("Film reviews, judged")
    page.keyboard.press("ArrowDown")
    expect(browser.locator(".sb-split .sb-head b")).to_have_text("Ten thousand films")
    for _ in range(30):
        page.keyboard.press("Tab")
        if "Fetch" in page.evaluate("() => document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    expect(browser.locator(".dt-info")).to_have_text("rows 1 to 10 of 10,000")
    chosen = browser.locator("tr[aria-selected=true]")
    expect(chosen).to_have_count(1)
    for control in browser.locator("select, input[type=text]").all():
        label = "e => e.title || e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.placeholder || e.closest('[title]')?.title"
        assert control.evaluate(label), control.evaluate("e => e.outerHTML")


def test_a_saved_notebook_says_how_to_open_it_and_a_cell_run_again_leaves_one_browser(
    opened, page, demo, lab_server
):
    browser = opened(demo.url, demo.api_key)
    expect(job(browser, "Film reviews")).to_be_visible()
    expect(browser.get_by_text("run this cell to open it")).to_be_hidden()
    for _ in range(3):
        run_cell(page, 1)
        expect(job(cell_output(page, 1), "Film reviews")).to_be_visible()
    opened_now = "print(len(get_ipython().magics_manager.registry['SutroMagics']._browsers))"
    assert int(kernel_eval(page, opened_now)) <= 2
    command(page, "docmanager:save")
    saved = nbformat.read(lab_server.root / "browse.ipynb", as_version=4)
    texts = [output["data"].get("text/plain") for output in saved.cells[1].outputs]
    assert texts == ["Job browser: run this cell to open it"] * 2
    assert demo.api_key not in (lab_server.root / "browse.ipynb").read_text()
    lab_server.shut_down_kernels()
    open_notebook(page, lab_server, "browse.ipynb")
    expect(cell_output(page, 1).get_by_text("Job browser: run this cell to open it")).to_be_visible()
    expect(cell_output(page, 1).get_by_text("not found")).to_have_count(0)
    picture(page, "reopened")


def test_a_browser_whose_kernel_was_restarted_says_so(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    job(browser, "Film reviews").click()
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => true)"
    )
    expect(browser.locator(".sb-dead:visible").first).to_contain_text("Run the cell again")
    expect(job(browser, "Film reviews")).to_be_visible()
    wait_until_idle(page)
    picture(page, "dead")


def test_no_secret_reaches_the_state_of_any_widget(opened, page, demo):
    browser = opened(demo.url, demo.api_key)
    job(browser, "Film reviews").click()
    press(browser, "Fetch")
    expect(browser.locator(".dt-info")).to_be_visible()
    dump = "import ipywidgets, json; print(json.dumps({k: w.get_state() for k, w in ipywidgets.widgets.widget._instances.items()}, default=str))"
    state = kernel_eval(page, dump)
    assert "Film reviews, judged" in state
    assert demo.api_key not in state and "X-Amz" not in state
