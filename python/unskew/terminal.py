"""What a person sees in the terminal: facts, verdicts, models and policies side by side."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


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


def refusals(samples: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The first refused line of each reason: where it stands and what is wrong with it."""
    seen = set()
    for bad in samples:
        if bad["reason"] not in seen:
            seen.add(bad["reason"])
            said = f"{bad['reason']} {bad['field']}".rstrip()
            yield f"{bad['file']} line {bad['line']}: {said}: {bad['message']}"


def verdict_text(verdict: dict[str, Any]) -> str:
    """The audit for a terminal: colour, sentences, the gates that are not green, then what counts say."""
    colour = {"green": "green", "amber": "yellow", "red": "red"}[verdict["colour"]]
    lines = [f"[bold {colour}]audit: {verdict['colour']}[/]", *map(escape, verdict["sentences"])]
    lines += [f"[{'red' if g['colour'] == 'red' else 'yellow'}]{g['colour']}[/] {escape(g['sentence'])}"
              for g in verdict["gates"] if g["colour"] != "green"]  # fmt: skip
    lines += [f"[dim]note[/] {escape(sentence)}" for sentence in verdict.get("notes", [])]
    allowed = ", ".join(name.replace("_", " ") for name in verdict["allowed"]) or "none"
    return "\n".join([*lines, f"estimators allowed: {allowed}"])


def outlook_table(plan: dict[str, Any]) -> Group:
    """What half, all and twice as many gold labels would show."""
    looks = plan["outlook"]
    table = Table(title="what labels would show", title_justify="left", box=None, pad_edge=False)
    table.add_column("labels", no_wrap=True)
    for look in looks:
        table.add_column(f"{look['labels']:,}", justify="right", no_wrap=True)
    table.add_column("more, for 80 %", justify="right", no_wrap=True)
    for kind, widths in looks[0]["widths"].items():
        for name in widths:
            cells = [f"{look['widths'][kind][name]:.2f}" for look in looks]
            table.add_row(f"width of {'' if kind == 'all' else kind + ' '}{name.replace('_', ' ')}", *cells)
    for kind, powers in looks[0]["power"].items():
        for name in powers:
            cells = [f"{look['power'][kind][name]:.0%}" for look in looks]
            needed = plan["enough"][kind][name]
            table.add_row(
                f"power of {kind} {name}",
                *cells,
                "–" if needed is None else f"{needed:,}" if needed else "none",
            )
    return Group(
        table,
        "[dim]Widths of 95 % intervals, if both error rates were .15 and the accuracy .75. Power: the chance "
        "to see it if liked responses, half of all, were answered twice as often as the others; by testing "
        "p1 = p0 at 1 %, and by the share of liked responses that weights from features tell against that of "
        "the random labels, at 5 %. Random labels that are there already count for the power.[/]",
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
    said = [
        f"{one['chosen']}: {one['why']}" for one in run.get("decisions") or () if one["part"] == "estimator"
    ]
    if run.get("recovered") is not None:
        said.append(f"ours closes {run['recovered']:.0%} of the Brier gap between naive and ideal")
    if said:
        table.caption, table.caption_justify = escape("\n".join(said)), "left"
    return table


VALID = {True: ("✓", "green"), False: ("✕", "red"), None: ("?", "yellow")}
"""Sign and colour of a way of measuring: valid, not valid, nothing can tell."""

WIDE = 110
"""Columns of a terminal from which on every figure of an evaluation is shown."""

SHOWN = (
    ("brier", "Brier", 0),
    ("auc", "AUC", 0),
    ("accuracy", "accuracy", 0),
    ("log_loss", "log loss", WIDE),
    ("best_of_n", "best of 16", WIDE),
)
"""Figures of an evaluation, and the width from which on they are shown."""


def evaluation_text(run: dict[str, Any], width: int) -> Group:
    """Every way of measuring a model, or two, and what follows, for a terminal of that width."""
    found, against = run["evaluation"], run.get("against")
    parts: list[Any] = [ways_table(run["title"], found["ways"], width, best=found["best"])]
    said = found["sentences"]
    if against:
        first, second = against["names"]
        parts[0].title = f"{first} measured"
        parts.append(ways_table(f"{second} measured", against["evaluation"]["ways"], width))
        parts.append(
            ways_table(f"{first} minus {second}", against["ways"], width, best=against["best"], signed=True)
        )
        said = [*against["sentences"], *said]
    parts.append(
        Text("✓ valid   ✕ not valid   ? nothing here can tell   ± 95 %   ★ read this one", style="dim")
    )
    lines = Table.grid(padding=(0, 1, 0, 0))
    for sentence in said:
        lines.add_row("•", Text(sentence))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts), lines)


def ways_table(
    title: str, ways: list[dict[str, Any]], width: int, *, best: str | None = None, signed: bool = False
) -> Table:
    """One row a way of measuring, one column a figure; the way to read carries a star."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [s for s in SHOWN if width >= s[2] and any(s[0] in way["metrics"] for way in ways)]
    table.add_column("")
    table.add_column("way", overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    if width >= WIDE and not signed:
        table.add_column("ESS", justify="right", no_wrap=True)
    for _, name, _ in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for way in ways:
        sign, colour = VALID[way["valid"]]
        label = Text(("★ " if way["way"] == best else "") + way["label"])
        size = [] if width < WIDE or signed else [_count(way.get("ess"))]
        figures = [_plus_minus(way["metrics"].get(name), signed) for name, *_ in shown]
        style = "bold" if way["way"] == best else "dim" if way["valid"] is False else None
        table.add_row(Text(sign, style=colour), label, _count(way["n"]), *size, *figures, style=style)
    return table


def _plus_minus(value: Any, signed: bool) -> str:
    """A figure with half its interval."""
    if value is None or value.get("value") is None:
        return "–"
    shown = f"{value['value']:{'+' if signed else ''}.3f}"
    return shown if value.get("high") is None else f"{shown} ±{value['high'] - value['value']:.3f}"


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,.0f}"


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
