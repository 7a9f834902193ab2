"""The lesson: what is committed reads well on a code host, and it runs top to bottom without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "demo.ipynb"
FAILS = "raises-exception"


@pytest.fixture(scope="module")
def lesson():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def fails_on_purpose(cell):
    return FAILS in cell.metadata.get("tags", [])


def errors(cell):
    return [output for output in cell.outputs if output.output_type == "error"]


def shown(cell):
    """Everything a cell has put on the screen, as text."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.extend(output.traceback)
        else:
            parts += [output.data.get("text/plain", ""), output.data.get("text/html", "")]
    return "\n".join(parts)


# As committed -------------------------------------------------------------------------------------


def test_the_notebook_is_valid_and_light(lesson):
    nbformat.validate(lesson)
    assert NOTEBOOK.stat().st_size < 300_000
    assert len(lesson.cells) <= 50
    assert lesson.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len({cell.id for cell in lesson.cells}) == len(lesson.cells)


def test_it_is_a_lesson_of_sixty_minutes(lesson):
    headings = re.findall(r"^## (\d+)\. .* \((\d+) minutes\)$", "\n".join(texts(lesson)), re.MULTILINE)
    assert [int(number) for number, _ in headings] == list(range(1, len(headings) + 1))
    assert sum(int(minutes) for _, minutes in headings) == 60
    table = re.findall(r"^\| (\d+) \| .* \| (\d+) \|", lesson.cells[0].source, re.MULTILINE)
    assert table == headings, "the teacher's table says something else than the headings"


def test_it_has_a_teachers_note_and_four_tasks_with_folded_answers(lesson):
    assert "Teacher's note" in lesson.cells[0].source
    tasks = [i for i, cell in enumerate(lesson.cells) if "### Your turn" in cell.source]
    assert len(tasks) == 4
    assert "".join(texts(lesson)).count("<details>") == 4
    for i in tasks:
        task, try_here = lesson.cells[i], lesson.cells[i + 1]
        assert re.search(
            r"<details>\n<summary>Answer</summary>\n\n.*```python\n.*```.*\n</details>",
            task.source,
            re.DOTALL,
        )
        assert try_here.cell_type == "code"
        assert all(line.startswith("#") for line in try_here.source.splitlines())


def test_it_begins_with_the_request_of_the_results_page(lesson):
    cells = code_cells(lesson)
    assert cells[0].source.startswith("%load_ext sutro_magic")
    request = cells[1].source
    assert "import requests" in request
    assert "/jobs/job_12345/results'" in request
    assert "'Authorization': f'Key {demo.api_key}'" in request
    assert "Output 1: The capital of France is Paris." in shown(cells[1])
    assert "%sutro_results job_12345 --inputs" in [cell.source for cell in cells[:5]]


def test_every_cell_was_run_once_in_order(lesson):
    counts = [cell.execution_count for cell in code_cells(lesson)]
    assert counts == list(range(1, len(counts) + 1))


def test_only_cells_that_are_to_fail_have_failed(lesson):
    for cell in code_cells(lesson):
        assert bool(errors(cell)) == fails_on_purpose(cell), cell.source
    assert sum(map(fails_on_purpose, code_cells(lesson))) >= 4


def test_the_outputs_hold_no_key_no_path_of_a_machine_and_no_widget(lesson):
    for cell in code_cells(lesson):
        outputs = json.dumps(cell.outputs)
        assert "sk_demo" not in outputs, cell.source
        assert not re.findall(r"(?<![\w:/.<~])/(?:[\w.-]+/)+[\w.-]+", shown(cell)), cell.source
        assert "Traceback" not in outputs
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        assert kinds <= {"text/plain", "text/html", "image/png"}, cell.source


def test_the_plots_are_small(lesson):
    images = [
        output.data["image/png"]
        for cell in code_cells(lesson)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert images
    assert all(len(image) * 3 / 4 < 40_000 for image in images)


# Executed -----------------------------------------------------------------------------------------


@pytest.fixture
def offline(private_home, monkeypatch):
    """An empty home, a cache where it belongs by default, and every proxy a dead end."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "SUTRO_MAGIC_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(private_home / "ipython"))
    return private_home


def run(notebook, folder):
    from nbclient import NotebookClient

    # As `jupyter execute` does it: a cell that fails without being tagged ends the run.
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return {cell.id: cell for cell in notebook.cells}


@pytest.mark.slow
def test_it_runs_top_to_bottom_without_a_network(lesson, offline, tmp_path):
    cells = run(nbformat.from_dict(lesson), tmp_path)

    assert "The capital of France is Paris." in shown(cells["request"])
    assert "The demo service runs" in shown(cells["demo"])
    assert "The capital of France is Paris." in shown(cells["magic"])
    assert "job-demo-films" in shown(cells["jobs"])
    assert "films · DataFrame 10,000 × " in shown(cells["films"])
    assert "would_rewatch" in shown(cells["films-fields"])
    assert any("image/png" in output.get("data", {}) for output in cells["plot"].outputs)
    assert "Equal? True True" in shown(cells["formats"])
    assert "NaN" in shown(cells["careless"])
    assert "reviews · DataFrame 2,000 × 4" in shown(cells["reviews"])
    assert "materials to an object" in shown(cells["museum"])
    assert "Reasoning: Each of 12" in shown(cells["puzzles"])
    assert "Postcards, some of them unreadable · 30 × 4 · outputs that did not parse" in shown(
        cells["broken"]
    )
    assert re.search(r"NaN +150", shown(cells["careful"]))
    assert "From the cache? False True" in shown(cells["cache-twice"])
    assert "Did you mean --inputs?" in shown(cells["error-flag"])
    assert "Did you mean job-demo-films?" in shown(cells["error-unknown"])
    assert "JobFailedError" in shown(cells["error-failed"])
    assert "%sutro_wait job-demo-queued" in shown(cells["error-unfinished"])
    assert "SUCCEEDED" in shown(cells["wait"])
    assert "CorruptResultsError" in shown(cells["fault-on"])
    assert " · from cache" in shown(cells["fault-cache"])
    assert " · fetched in " in shown(cells["fault-off"])
    assert "Job browser: run this cell to open it" in shown(cells["browse"])

    outputs = json.dumps([cell.get("outputs", []) for cell in cells.values()])
    assert "sk_demo" not in outputs
    assert not list(tmp_path.iterdir()), "the lesson left files beside the notebook"


@pytest.mark.slow
def test_the_folded_answers_work(lesson, offline, tmp_path):
    notebook = nbformat.from_dict(lesson)
    for task, try_here in zip(notebook.cells, notebook.cells[1:], strict=False):
        if "### Your turn" in task.source:
            try_here.source = "\n".join(re.findall(r"```python\n(.*?)```", task.source, re.DOTALL))
    cells = run(notebook, tmp_path)

    assert any("image/png" in output.get("data", {}) for output in cells["turn-1-cell"].outputs)
    assert shown(cells["turn-2-cell"]).count("label:") == 5
    assert "Name: count" in shown(cells["turn-3-cell"])
    assert "{" not in shown(cells["turn-3-cell"]).partition("<")[0]
    assert "Fault on: slow" in shown(cells["turn-4-cell"])
    assert "No fault is on." in shown(cells["turn-4-cell"])
