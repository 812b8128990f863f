"""What a store supports, and the models that are made of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from unskew.cli.app import (
    ExitCode,
    JsonFlag,
    StoreArgument,
    app,
    err,
    given,
    out,
    show,
    stage,
)
from unskew.terminal import (
    arms_table,
    evaluation_text,
    facts,
    flat,
    outlook_table,
    policies_table,
    refutations_table,
    verdict_text,
)


@app.command()
def audit(
    store: StoreArgument,
    gold: Annotated[
        Path | None, typer.Option(help="Gold labels (JSON lines) to check and keep in the store.")
    ] = None,
    gold_plan: Annotated[
        int | None, typer.Option(min=10, help="Write that many rows worth labelling.")
    ] = None,
    plan_file: Annotated[Path, typer.Option("--plan-out", help="Where the gold plan goes.")] = Path(
        "gold-plan.jsonl"
    ),
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file; flags override it.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="hashing, or the path of a Hugging Face model.")
    ] = None,
    refute: Annotated[
        bool, typer.Option("--refute", help="Try to refute the analysis on the log itself, too.")
    ] = False,
    control: Annotated[
        str | None,
        typer.Option("--negative-control", help="Kind of feedback that has nothing to do with quality."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Every random choice follows from it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what this log can support: green, amber (0) or red (8), in words."""
    from unskew import pipeline

    if gold_plan:
        written = pipeline.write_gold_plan(store, gold_plan, plan_file, seed=seed or 0)
        strata = {"rows": written["rows"], **written["strata"]}
        show(written, as_json, lambda: facts(f"rows worth labelling in {plan_file}", strata))
        if not as_json:
            out.print(outlook_table(written))
        return
    settings = pipeline.TrainConfig.load(config, **given(features=features, seed=seed))
    verdict = pipeline.audit_store(
        store,
        gold=gold,
        settings=settings,
        refutations=refute or control is not None,
        control=control,
        stage=stage,
    )
    show(verdict, as_json, lambda: verdict_text(verdict))
    if not as_json and "refutations" in verdict:
        out.print(refutations_table(verdict["refutations"]))
    if not as_json and "not_refuted" in verdict:
        out.print(f"[yellow]nothing was tried:[/] {escape(verdict['not_refuted'])}")
    if verdict["colour"] == "red":
        raise typer.Exit(ExitCode.RED)


@app.command()
def train(
    store: Annotated[
        Path | None,
        typer.Argument(help="Store directory; absent when the YAML file is one of `trl reward`."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file; flags override it.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--out", help="Run directory: model, run.json, report.html.")
    ] = Path("run"),
    estimator: Annotated[str | None, typer.Option(help="auto, or one recipe by name.")] = None,
    head: Annotated[str | None, typer.Option(help="linear or mlp.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Fine-tune this transformer (path or name) on the same columns.")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="hashing, or the path of a Hugging Face model.")
    ] = None,
    gold: Annotated[
        Path | None, typer.Option(help="Gold labels (JSON lines) to check and keep in the store.")
    ] = None,
    accept_red: Annotated[
        str | None,
        typer.Option(
            help="Train on a red audit; the reason goes on the card. auto then corrects nothing; an "
            "estimator asked for by name is trained."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Every random choice follows from it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a reward model from a store, with the audit's nuisances; or from a data set, as `trl reward`."""
    from unskew import pipeline, report

    if store is None:
        train_on_rows(config, as_json)
        return
    flags = given(
        estimator=estimator, head=head, model=model, features=features, accept_red=accept_red, seed=seed
    )
    settings = pipeline.TrainConfig.load(config, **flags)
    bars = err.is_terminal
    run = pipeline.train(store, directory, settings, gold=gold, stage=stage, quiet_bars=not bars)
    report.write(directory, directory / "report.html")
    show(run, as_json, lambda: arms_table(run))
    if not as_json:
        out.print(f"model: {directory / 'model'}\nreport: {directory / 'report.html'}", soft_wrap=True)


def train_on_rows(config: Path | None, as_json: bool) -> None:
    """`trl reward` with our trainer."""
    from unskew.pipeline.config import read_settings

    if config is None:
        raise ValueError("a STORE is needed, or -c with the settings of `trl reward` (model and data set)")
    settings = read_settings(config)
    from unskew.reward import script

    done = script.run(settings, quiet=not err.is_terminal)
    show(done, as_json, lambda: facts("reward model", flat(done)))
    if done["interrupted"]:
        raise typer.Exit(128 + done["interrupted"])


@app.command()
def ppo(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file; flags override it.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--out", help="Run directory: policy, run.json, report.html.")
    ] = Path("run-ppo"),
    model: Annotated[str | None, typer.Option(help="Policy to start from (path or name).")] = None,
    reward: Annotated[
        list[str] | None, typer.Option(help="Reward model directory, http address or file.py:function.")
    ] = None,
    gold: Annotated[str | None, typer.Option(help="Reward that is watched, never trained on.")] = None,
    prompts: Annotated[str | None, typer.Option(help="JSON lines with `prompt`.")] = None,
    store: Annotated[str | None, typer.Option(help="Store whose prompts are used.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="ppo, rloo or grpo.")] = None,
    seed: Annotated[int | None, typer.Option(help="Every random choice follows from it.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train a policy on a reward: PPO, RLOO or GRPO; the same command goes on where it stopped."""
    from unskew import pipeline, report

    flags = given(
        model=model,
        reward=reward or None,
        gold=gold,
        prompts=prompts,
        store=store,
        algorithm=algorithm,
        seed=seed,
    )
    settings = pipeline.OptimiseConfig.load(config, **flags)
    run = pipeline.optimise(settings, directory, quiet=not err.is_terminal)
    report.write(directory, directory / "report.html")
    show(run, as_json, lambda: policies_table(run["policy"]))
    if not as_json:
        out.print(f"policy: {directory / 'policy'}\nreport: {directory / 'report.html'}", soft_wrap=True)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Reward model directory.")],
    store: Annotated[Path, typer.Option(help="Store to measure it on.")],
    gold: Annotated[
        Path | None, typer.Option(help="Gold labels (JSON lines) instead of those in the store.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A second reward model: which is better, and how sure is that.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--out", help="Write run.json and report.html here.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="YAML file of the audit or training.")
    ] = None,
    by: Annotated[str, typer.Option(help="What counts as one draw: prompt or user.")] = "prompt",
    as_json: JsonFlag = False,
) -> None:
    """Measure a reward model on a log in every way there is, and say which intervals may be believed."""
    from unskew import pipeline, report

    run = pipeline.evaluate_model(
        model,
        store,
        gold=gold,
        against=against,
        directory=directory,
        settings=pipeline.TrainConfig.load(config),
        by=by,
        stage=stage,
    )
    show(run, as_json, lambda: evaluation_text(run, out.width))
    if directory is not None:
        page = report.write(directory, directory / "report.html")
        if not as_json:
            out.print(f"report: {page}", soft_wrap=True)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Reward model directory.")],
    file: Annotated[Path, typer.Argument(help="JSON lines with prompt and response (or completion).")],
    output: Annotated[
        Path | None, typer.Option("--out", help="Write here instead of standard output.")
    ] = None,
) -> None:
    """Reward of each row: the row back, with `reward` (logit) and, for models of responses, `probability`."""
    from unskew import pipeline

    target = output.open("w", encoding="utf-8") if output else sys.stdout
    try:
        for line in pipeline.score_file(model, file):
            target.write(line + "\n")
    finally:
        if output:
            target.close()


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory (holds run.json).")],
    output: Annotated[
        Path | None, typer.Option("--out", help="HTML file; RUN/report.html when absent.")
    ] = None,
) -> None:
    """Make the HTML page of a run again."""
    from unskew import report as reporter

    out.print(f"report: {reporter.write(run, output or run / 'report.html')}", soft_wrap=True)
