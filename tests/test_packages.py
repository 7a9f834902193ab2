"""Without an optional package, its type is refused before anything is fetched, and nothing offers it."""

from __future__ import annotations

import sys

import pytest

from sutro_magic.errors import MissingPackageError
from sutro_magic.ui.browser.job_browser import JobBrowser
from sutro_magic.ui.table.results_table import ResultsTable

SETTING = "get_ipython().magics_manager.registry['SutroMagics'].as_type"


@pytest.fixture
def bare(kernel):
    """A kernel in which Dask cannot be found."""
    kernel.run(
        "import sys\nkept = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split('.')[0] == 'dask'}"
    )
    kernel.run("sys.modules['dask'] = None")
    yield kernel
    kernel.run("%config SutroMagics.as_type = 'pandas'\ndel sys.modules['dask']\nsys.modules.update(kept)")


@pytest.mark.parametrize(
    "cell",
    [
        "%sutro_results job-demo-films --as dask --name df",
        "%sutro_results job-demo-films --peek --as dask --name df",
        "%sutro_compare job-demo-reviews job-demo-opinion --as dask --name df",
        "%%sutro_sql --as dask --name df\nfrom 'job-demo-films'",
    ],
)
def test_its_type_is_refused_before_anything_is_fetched(bare, demo, cell):
    bare.run("df = 'as before'")
    demo.requests.clear()
    first, second = bare.run(cell).traceback.splitlines()
    assert "dask is not installed" in first and "%pip install 'sutro-magic[dask]'" in second
    assert list(demo.requests) == [] and bare.value("df") == "as before"


def test_the_setting_refuses_it(bare):
    said = bare.run("%config SutroMagics.as_type = 'dask'").text
    assert "as_type cannot be 'dask'" in said and "%pip install 'sutro-magic[dask]'" in said
    assert bare.value(SETTING) == "pandas"


def test_tab_does_not_offer_it(bare):
    code = "%sutro_results job_12345 --as d"
    assert bare.client.complete(code, reply=True, timeout=60)["content"]["matches"] == ["duckdb"]


def test_no_list_in_a_widget_offers_it(session, monkeypatch):
    results = session.results("job_12345")
    both = ["pandas", "polars", "arrow", "duckdb", "dask", "results"]
    for types in (both, [name for name in both if name != "dask"]):
        if types is not both:
            monkeypatch.setitem(sys.modules, "dask", None)
            with pytest.raises(MissingPackageError, match="dask is not installed"):
                results.to("dask")
        table = ResultsTable(results, bind=lambda *_: "", as_type="dask")
        browser = JobBrowser(session, bind=lambda *_: "", namespace={}, as_type="dask")
        pane = browser._result
        assert table._setup["bind"] == {"types": types, "type": "dask" if types is both else "pandas"}
        assert list(pane.as_type.options) == types and pane.as_type.value in types
        table.close()
        browser.close()


def test_a_type_that_no_widget_has_opens_the_browser_all_the_same(kernel):
    kernel.run("%config SutroMagics.as_type = 'path'")
    reply = kernel.run("b = %sutro_browse")
    kernel.run("%config SutroMagics.as_type = 'pandas'\nb.close()")
    assert reply.ok, reply.traceback
