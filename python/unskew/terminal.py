"""What a person sees in the terminal: facts, verdicts, models and policies side by side."""

from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table


def facts(title: str, rows: "dict[str, Any]") -> Table:
    """A two-column table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    return table


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by a space; lists are counted."""
    rows: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            rows |= flat(value, f"{prefix}{name} ")
        else:
            rows[f"{prefix}{name}"] = len(value) if isinstance(value, list) else value
    return rows


def verdict_text(verdict: dict[str, Any]) -> str:
    """The audit for a terminal: colour, sentences, then the gates that are not green."""
    colour = {"green": "green", "amber": "yellow", "red": "red"}[verdict["colour"]]
    lines = [f"[bold {colour}]audit: {verdict['colour']}[/]", *map(escape, verdict["sentences"])]
    lines += [f"[{'red' if g['colour'] == 'red' else 'yellow'}]{g['colour']}[/] {escape(g['sentence'])}"
              for g in verdict["gates"] if g["colour"] != "green"]  # fmt: skip
    allowed = ", ".join(name.replace("_", " ") for name in verdict["allowed"]) or "none"
    return "\n".join([*lines, f"estimators allowed: {allowed}"])


def outlook_table(plan: dict[str, Any]) -> Group:
    """What half, all and twice as many gold labels would show."""
    looks = plan["outlook"]
    table = Table(title="what labels would show", title_justify="left", box=None, pad_edge=False)
    table.add_column("labels", no_wrap=True)
    for look in looks:
        table.add_column(f"{look['labels']:,}", justify="right", no_wrap=True)
    table.add_column("for 80 %", justify="right", no_wrap=True)
    for kind, widths in looks[0]["widths"].items():
        for name in widths:
            cells = [f"{look['widths'][kind][name]:.2f}" for look in looks]
            table.add_row(f"width of {'' if kind == 'all' else kind + ' '}{name.replace('_', ' ')}", *cells)
    for kind, powers in looks[0]["power"].items():
        for name in powers:
            cells = [f"{look['power'][kind][name]:.0%}" for look in looks]
            needed = plan["enough"][kind][name]
            table.add_row(f"power of {kind} {name}", *cells, "–" if needed is None else f"{needed:,}")
    return Group(
        table,
        "[dim]Widths of 95 % intervals, if both error rates were .15 and the accuracy .75. Power: the chance "
        "to see it if liked responses, half of all, were answered twice as often as the others; by testing "
        "p1 = p0 at 1 %, and by the share of liked responses that weights from features tell against that of "
        "the random labels, at 5 %.[/]",
    )


def refutations_table(refutations: list[dict[str, Any]]) -> Group:
    """Attempts to refute an analysis, one a row; below, what each means."""
    kinds = " and ".join(dict.fromkeys(tried["kind"] for tried in refutations))
    table = Table(
        title=f"attempts to refute this, on {kinds}", title_justify="left", box=None, pad_edge=False
    )
    for name, side in (("attempt", "left"), ("", "left"), ("expected", "right"), ("found", "right")):
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("99 % interval", no_wrap=True)
    for tried in refutations:
        word = "[green]passed[/]" if tried["passed"] else "[bold red]FAILED[/]"
        found, low, high = (f"{tried[name]:.3f}" for name in ("figure", "low", "high"))
        table.add_row(tried["name"], word, f"{tried['expected']:g}", found, escape(f"[{low}, {high}]"))
    said = [
        f"[{'green' if tried['passed'] else 'bold red'}]{tried['name']}[/] {escape(tried['sentence'])}"
        for tried in sorted(refutations, key=lambda tried: tried["passed"])
    ]
    said.append("[dim]One in a hundred fails by chance; what passes is not proved.[/]")
    return Group(table, *said)


STYLE = {"ours": "bold green", "naive": "yellow", "unsafe": "red", "ideal": "dim"}
"""Colour of an arm's role."""


def arms_table(run: dict[str, Any]) -> Table:
    """The side-by-side table of a run."""
    columns = ("brier", "auc", "accuracy", "mean_error", "best_of_n")
    table = Table(title=run["title"], title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for arm in run["arms"]:
        cells = [_number(arm.get("metrics", {}).get(name)) for name in columns]
        table.add_row(arm["label"], *cells, style=STYLE.get(arm["role"]))
    if run.get("recovered") is not None:
        table.caption = f"ours closes {run['recovered']:.0%} of the Brier gap between naive and ideal"
        table.caption_justify = "left"
    return table


def policies_table(policy: dict[str, Any]) -> Table:
    """What the policies of a run are worth, beside the one that all of them started from."""
    start = {"label": "nothing: the start", "role": "start", "final": policy["start"]["final"]}
    arms = [start, *policy["arms"]]
    names = {
        "true": "true reward",
        "liked": "P(liked)",
        "proxy": "own",
        "kl": "KL",
        "win_rate": "beats start",
    }
    shown = [name for name in names if any(arm["final"].get(name) is not None for arm in arms)]
    table = Table(title="policies trained on these rewards", title_justify="left", box=None, pad_edge=False)
    table.add_column("paid by", no_wrap=True)
    for name in shown:
        table.add_column(names[name], justify="right", no_wrap=True)
    for arm in arms:
        cells = [_spread(arm["final"].get(name)) for name in shown]
        table.add_row(arm["label"].partition(":")[0], *cells, style=STYLE.get(arm["role"]))
    return table


def _spread(value: Any) -> str:
    """A number, with half its interval where it has one."""
    if isinstance(value, dict) and value.get("high") is not None:
        return f"{value['value']:.2f} ± {value['high'] - value['value']:.2f}"
    return "–" if value is None else f"{float(value):.2f}"


def _number(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("value")
    return "–" if value is None or value != value else f"{value:.3f}"
