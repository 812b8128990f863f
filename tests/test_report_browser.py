"""The report in a real browser: its layout at phone and desktop width, its themes, and that nothing runs."""

import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest

from pages import evaluation_run, everywhere, sample_run
from unskew import report

PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, seen = [...document.querySelectorAll("body *")];
  const right = e => e.getBoundingClientRect().right;
  const heights = [...document.querySelectorAll(".chart text")].map(e => e.getBoundingClientRect().height);
  const colour = name => getComputedStyle(document.querySelector(name) || root).color;
  parent.document.documentElement.dataset.seen = JSON.stringify({
    width: innerWidth, scrolls: root.scrollWidth,
    over: seen.filter(e => !e.closest(".scroll") && right(e) > innerWidth + 1).map(e => e.tagName),
    text: Math.min(...heights), planted: "planted" in root.dataset,
    paper: getComputedStyle(document.body).backgroundColor,
  });
});</script>"""


def browsed(
    run: dict, tmp_path, *, width: int = 390, dark: bool = False, policy: bool = False
) -> "dict | None":
    """What Chromium lays out in a frame of that width; None when our probe was not allowed to run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here: layout is checked in a browser only")
    html = report.render(run).replace("<head>", "<head>" + PROBE)
    if policy:
        rule = re.search(r"<meta http-equiv=[^>]*>", html)[0]
        html = html.replace(rule, "").replace("<head>", "<head>" + rule)
    else:
        html = re.sub(r"<meta http-equiv=[^>]*>", "", html)
    frame = f'<iframe width="{width}" height="2000" style="border:0" srcdoc="{escape(html)}"></iframe>'
    path = tmp_path / "frame.html"
    path.write_text(f"<!doctype html><html><body>{frame}</body></html>", "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,2100", "--dump-dom"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", path.as_uri()]
    done = subprocess.run([browser, *options], capture_output=True, text=True, timeout=60)
    assert "<iframe" in done.stdout, done.stderr
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    return json.loads(unescape(found[1])) if found else None


@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways_and_its_charts_stay_readable(tmp_path, width):
    seen = browsed(sample_run(), tmp_path, width=width)
    assert seen["width"] == width
    assert seen["scrolls"] <= width
    assert seen["over"] == []
    assert seen["text"] >= 11


def test_page_follows_the_theme_of_its_reader(tmp_path):
    assert browsed({}, tmp_path)["paper"] == "rgb(255, 255, 255)"
    assert browsed({}, tmp_path, dark=True)["paper"] == "rgb(20, 23, 27)"


def test_no_planted_script_runs_and_the_policy_would_stop_one(tmp_path):
    run = "document.documentElement.dataset.planted=1"
    plant = f'"\'><img src=x onerror="{run}"><script>{run}</script>'
    hostile = everywhere(sample_run(), lambda v: plant if isinstance(v, str) and v != "amber" else v)
    assert browsed({**hostile, "counts": {plant: 1}}, tmp_path)["planted"] is False
    assert browsed({}, tmp_path, policy=True) is None


@pytest.mark.parametrize("width", [390, 1280])
def test_page_of_an_evaluation_never_scrolls_sideways(tmp_path, width):
    seen = browsed(evaluation_run(), tmp_path, width=width)
    assert seen["scrolls"] <= width
    assert seen["over"] == []
    assert seen["text"] >= 11
