"""The report: one self-contained HTML page made from RUN/run.json alone.

    from unskew import report

    report.write("run", "report.html")     # a run directory, or the JSON file itself
    html = report.render(run)              # the same from a dict in memory

`values` reads numbers that may be missing, `markup` escapes, `charts` turns numbers into inline SVG;
`finding` says the result in words, `verdict`, `models`, `evaluation`, `doubt`, `feedback` and `origin` write
the sections, `page` puts them in order. Nothing is loaded from anywhere: no script, no font, no image.
"""

from unskew.report.page import render, write

__all__ = ["render", "write"]
