"""A profile and a comparison as a person sees them: in JupyterLab, light and dark."""

from __future__ import annotations

import os
from pathlib import Path

from jlab import (
    cell_output,
    external_requests,
    notebook,
    open_notebook,
    run_all,
    screenshot,
    set_kernel_env,
    set_theme,
)
from playwright.sync_api import expect

SCREENSHOTS = os.environ.get("SUTRO_MAGIC_SCREENSHOTS")
"""A folder: pictures of both are put there."""

CELLS = [
    "%load_ext sutro_magic",
    "%sutro_profile job-demo-broken",
    "%sutro_compare job-demo-reviews job-demo-opinion",
]

CONTRAST = """(bar) => {
    // A browser computes the theme's variables; what is behind the bar is the first colour that is not transparent.
    const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    let behind = [255, 255, 255];
    for (let node = bar; node; node = node.parentElement) {
        const found = parse(getComputedStyle(node).backgroundColor);
        if (found.length === 3 || found[3] === 1) { behind = found; break; }
    }
    const [a, b] = [light(parse(getComputedStyle(bar).fill)), light(behind)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def test_plots_are_readable_in_both_themes(lab_server, page, traffic, demo, tmp_path):
    notebook(lab_server.root / "look.ipynb", CELLS)
    open_notebook(page, lab_server, "look.ipynb")
    set_kernel_env(
        page,
        {"SUTRO_API_URL": demo.url, "SUTRO_API_KEY": demo.api_key, "SUTRO_MAGIC_CACHE_DIR": str(tmp_path)},
    )
    run_all(page)
    profile, comparison = cell_output(page, 1), cell_output(page, 2)
    expect(profile).to_contain_text("30 of 180 (16.7%)")
    expect(comparison).to_contain_text("rows of 2 jobs")
    expect(comparison.locator("[title*='All inputs are the same.']").first).to_be_visible()
    expect(comparison.locator("table.dataTable tbody tr")).to_have_count(10)
    expect(comparison.locator("table.dataTable tbody tr").first).to_contain_text("mixed")
    for dark in (False, True):
        set_theme(page, dark)
        bar = profile.locator("svg rect").first
        expect(bar).to_be_visible()
        assert bar.evaluate(CONTRAST) > 3, "what WCAG asks of graphics"
        if SCREENSHOTS:
            for name, target in (("profile", profile), ("comparison", comparison)):
                screenshot(page, Path(SCREENSHOTS) / f"{name}-{'dark' if dark else 'light'}.png", target)
    assert external_requests(traffic) == []
    assert traffic.errors == []
