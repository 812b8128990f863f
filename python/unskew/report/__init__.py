"""The report: one self-contained HTML page made from RUN/run.json alone.

    from unskew import report

    report.write("run", "report.html")     # a run directory, or the JSON file itself
    html = report.render(run)              # the same from a dict in memory

`values` reads numbers that may be missing, `charts` turns numbers into inline SVG, `sections` writes what each
part of the page says, `page` puts them in order. Nothing is loaded from anywhere: no script, font or image.
"""

from unskew.report.page import render, write

__all__ = ["render", "write"]
