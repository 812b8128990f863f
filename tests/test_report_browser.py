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
  parent.document.documentElement.setAttribute("data-seen-" + frameElement.id, JSON.stringify({
    width: innerWidth, scrolls: root.scrollWidth,
    over: seen.filter(e => !e.closest(".scroll") && right(e) > innerWidth + 1).map(e => e.tagName),
    text: Math.min(...heights), planted: "planted" in root.dataset,
    paper: getComputedStyle(document.body).backgroundColor,
  }));
});</script>"""


def framed(run: dict, *, width: int = 390, policy: bool = False) -> tuple[str, int]:
    """A page with our probe, which its policy does not allow, so that goes unless it is asked for."""
    html = report.render(run).replace("<head>", "<head>" + PROBE)
    rule = re.search(r"<meta http-equiv=[^>]*>", html)[0]
    html = html.replace(rule, "")
    return (html.replace("<head>", "<head>" + rule) if policy else html), width


def browsed(frames: dict[str, tuple[str, int]], tmp_path, *, dark: bool = False) -> dict[str, dict]:
    """What Chromium lays out in each frame of a page where our probe was allowed to run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium here: layout is checked in a browser only")
    body = "".join(
        f'<iframe id="{name}" width="{width}" height="2000" style="border:0" '
        f'srcdoc="{escape(html)}"></iframe>'
        for name, (html, width) in frames.items()
    )
    path = tmp_path / "frames.html"
    path.write_text(f"<!doctype html><html><body>{body}</body></html>", "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,2100", "--dump-dom"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", path.as_uri()]
    done = subprocess.run([browser, *options], capture_output=True, text=True, timeout=240)
    assert done.stdout.count("<iframe id=") == len(frames), done.stderr
    found = re.findall(r' data-seen-(\w+)="([^"]*)"', done.stdout)
    return {name: json.loads(unescape(seen)) for name, seen in found}


PLANTED = "document.documentElement.dataset.planted=1"
PLANT = f'"\'><img src=x onerror="{PLANTED}"><script>{PLANTED}</script>'


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, dict]:
    """Every page in one start of the browser."""
    hostile = everywhere(sample_run(), lambda v: PLANT if isinstance(v, str) and v != "amber" else v)
    bare, width = framed({})
    frames = {
        "empty": (bare, width),
        "forbidden": framed({}, policy=True),
        "hostile": framed({**hostile, "counts": {PLANT: 1}}),
        "planted": (bare.replace("</body>", PLANT + "</body>"), width),
    }
    for width in (390, 1280):
        frames |= {f"run{width}": framed(sample_run(), width=width)}
        frames |= {f"evaluation{width}": framed(evaluation_run(), width=width)}
    return browsed(frames, tmp_path_factory.mktemp("light"))


@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways_and_its_charts_stay_readable(seen, width):
    page = seen[f"run{width}"]
    assert page["width"] == width
    assert page["scrolls"] <= width
    assert page["over"] == []
    assert page["text"] >= 11


def test_page_follows_the_theme_of_its_reader(seen, tmp_path):
    assert seen["empty"]["paper"] == "rgb(255, 255, 255)"
    assert browsed({"dark": framed({})}, tmp_path, dark=True)["dark"]["paper"] == "rgb(20, 23, 27)"


def test_no_planted_script_runs_and_the_policy_would_stop_one(seen):
    assert seen["planted"]["planted"] is True  # what would be seen if one ran
    assert seen["hostile"]["planted"] is False
    assert "forbidden" not in seen


@pytest.mark.parametrize("width", [390, 1280])
def test_page_of_an_evaluation_never_scrolls_sideways(seen, width):
    page = seen[f"evaluation{width}"]
    assert page["scrolls"] <= width
    assert page["over"] == []
    assert page["text"] >= 11
