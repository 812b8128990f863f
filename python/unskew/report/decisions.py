"""What was chosen on the way to the model, and why; what came before it and was refused."""

from unskew.report.markup import Html, el, join, lines, small, table
from unskew.report.values import Run, mappings, words


def decisions(run: Run) -> Html:
    """A row a decision, then what was passed over."""
    found = mappings(run.get("decisions"))
    body = [
        [lines(words(one.get("part")), words(one.get("of"))), words(one.get("chosen")).replace("_", " "),
         words(one.get("why"))]
        for one in found
    ]  # fmt: skip
    parts = [table(["what", "chosen", "why"], body, label="what was chosen, and why", classes="reasons")]
    refused = [pair for one in found for pair in one.get("passed") or () if len(pair) == 2]
    if refused:
        items = [el("li", el("strong", words(name).replace("_", " ")), ": ", why) for name, why in refused]
        parts += [small("Tried before it, and refused by the audit:"), el("ul", *items, class_="small")]
    return join(parts)
