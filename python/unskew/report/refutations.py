"""Attempts to refute the analysis, the failed ones first."""

from unskew.report.markup import Html, el, lines, table
from unskew.report.values import Run, between, fixed, mappings, number, words


def refutations(run: Run) -> Html:
    """What was found and its interval beside what must lie in it, and what that means."""
    rows = sorted(mappings(run.get("refutations")), key=lambda row: row.get("passed") is True)
    body = []
    for row in rows:
        passed = row.get("passed") is True
        word = el("span", "passed" if passed else "failed", class_=f"tag {'green' if passed else 'red'}")
        value, low, high, expected = (number(row.get(key)) for key in ("figure", "low", "high", "expected"))
        said = el("p", words(row.get("sentence")))
        body.append(
            [
                lines(words(row.get("name")), words(row.get("kind"))),
                word,
                fixed(expected),
                lines(fixed(value), between(low, high)),
                said,
            ]
        )
    head = ["attempt", "", "expected", "found", "what it means"]
    return table(head, body, label="attempts to refute the analysis", classes="tried")
