"""A product that is simulated: its log, and the whole road on it."""

from pathlib import Path
from typing import Annotated

import typer

from unskew.cli.app import (
    JsonFlag,
    SeedOption,
    app,
    given,
    out,
    show,
    stage,
)
from unskew.terminal import (
    arms_table,
    facts,
    policies_table,
)


@app.command()
def quickstart(
    directory: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("quickstart"),
    policy: Annotated[
        bool, typer.Option("--policy", help="Train small policies on the rewards too; a few minutes.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole road on a simulated product log with known truth: offline, CPU, about a minute."""
    from unskew.quickstart import quickstart as go

    settings = None
    if policy:
        from unskew.pipeline.policy import PolicyConfig

        settings = PolicyConfig(seed=seed)
    run = go(directory, seed=seed, policy=settings, stage=stage)
    show(run, as_json, lambda: arms_table(run))
    if policy and not as_json:
        out.print(policies_table(run["policy"]))
    if not as_json:
        out.print(f"report: {directory / 'report.html'}", soft_wrap=True)


@app.command()
def simulate(
    directory: Annotated[
        Path, typer.Option("--out", help="Directory for events/, gold.jsonl and oracle files.")
    ],
    world: Annotated[
        str, typer.Option(help="Who answers: features, label, u, random, nuisance, hopeless, flattery, ...")
    ] = "label",
    responses: Annotated[int, typer.Option(min=100, help="Number of responses shown.")] = 16_000,
    alpha: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Strength of selection; smaller is harder.")
    ] = None,
    dirty: Annotated[int, typer.Option(min=0, help="Broken lines to mix in.")] = 0,
    seed: SeedOption = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write a product log whose truth is known."""
    from dataclasses import asdict

    from unskew import simulate as simulator

    chosen = simulator.named(world, **given(alpha=alpha))
    with stage("simulating"):
        made = simulator.simulate(directory, responses, chosen, seed, dirty=dirty)
    show(asdict(made), as_json, lambda: facts(f"simulated log in {directory}", asdict(made)))
