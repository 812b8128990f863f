"""The command line: parse, call one function, print. Exit codes are in `ExitCode`."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

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

app = typer.Typer(
    name="unskew",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reward models learned from the feedback products already log.",
)
out, err = Console(), Console(stderr=True)


class ExitCode(IntEnum):
    """What the shell sees."""

    DONE = 0
    WRONG_USE = 2
    BAD_LINES = 3
    IO = 4
    LOCKED = 5
    CHECKSUM = 6
    NUMERIC = 7
    RED = 8


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
StoreArgument = Annotated[Path, typer.Argument(help="Store directory made by `unskew ingest`.")]
KeyOption = Annotated[
    Path | None, typer.Option(help="File with the key of the pseudonyms; the user's own when absent.")
]
SeedOption = Annotated[int, typer.Option(help="Every random choice follows from it.")]


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Show that `name` is under way, with the time it takes; quiet when not a terminal."""
    if not err.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(name, total=1)
        yield
        progress.update(task, completed=1)


Stage = Callable[[str], AbstractContextManager[None]]


def show(document: dict[str, Any], as_json: bool, table: Callable[[], Any]) -> None:
    """Print `document` for a machine or `table()` for a person."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
    else:
        out.print(table())


def given(**flags: Any) -> dict[str, Any]:
    """The flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["UNSKEW_DEBUG"] = "1"


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


@app.command()
def ingest(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Files, globs or directories of logs (JSON, CSV, TSV, Parquet); - is stdin."),
    ],
    store: Annotated[Path | None, typer.Option(help="Store directory, made when absent.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Product that wrote them, by the name of its mapping. Default: canonical lines."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Mapping of another product, a TOML file (docs/mappings.md).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is in the inputs and write nothing.")
    ] = False,
    max_bad: Annotated[
        str | None,
        typer.Option(help="Bad lines allowed: a number or a percentage (1%). Default: max(1000, 1%)."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Watermark (RFC 3339) instead of the largest time seen.")
    ] = None,
    key: KeyOption = None,
    keep_raw: Annotated[bool, typer.Option(help="Keep the text of quarantined lines in the store.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the full report as JSON here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read feedback logs into a store. Every line is accounted for; bad ones cost no good one."""
    from unskew import events, mappings

    if mapping is None and source not in (None, "canonical", *mappings.shipped()):
        raise ValueError(
            f"no product is named {source!r}; there are canonical, {', '.join(mappings.shipped())}. "
            "For another one pass --mapping FILE.toml"
        )
    if dry_run:
        with stage("reading the log"):
            coverage = events.dry_run(inputs, source=source, mapping=mapping, until=until)
        show(coverage.to_dict(), as_json, lambda: facts("what is in the inputs", coverage.summary()))
        if not as_json:
            for bad in coverage.samples:
                said = f"{bad['reason']} {bad['field']}: {bad['message']}"
                out.print(f"{bad['file']} line {bad['line']}: {said}", markup=False, soft_wrap=True)
            out.print(f"not carried: {', '.join(coverage.lost) or 'nothing'}", markup=False, soft_wrap=True)
        return
    if store is None:
        raise ValueError("--store DIR is needed, or --dry-run")
    with stage("reading the log"):
        result = events.ingest(
            inputs, store, source=source, mapping=mapping, max_bad=max_bad, until=until, key_file=key,
            keep_raw=keep_raw,
        )  # fmt: skip
    document = result.to_dict()
    if report:
        report.write_text(json.dumps(document, indent=1))
    show(document, as_json, lambda: facts(f"store {store}", result.summary()))


@app.command()
def verify(store: StoreArgument, key: KeyOption = None, as_json: JsonFlag = False) -> None:
    """Check every file of a store against its checksum and print the store digest."""
    from unskew import events

    with stage("checking"):
        result = events.verify(store, key_file=key)
    show(result, as_json, lambda: facts(f"store {store} is whole", flat(result)))


@app.command()
def erase(
    user: Annotated[str, typer.Argument(help="Id of the person, as the log has it.")],
    store: Annotated[Path, typer.Option(help="Store directory made by `unskew ingest`.")],
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take one person out of a store: what is left is what a log without them gives."""
    from unskew import events

    with stage("erasing"):
        result = events.erase(user, store, key_file=key)
    show(result, as_json, lambda: facts(f"erased from {store}", flat(result)))


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
        str | None, typer.Option(help="Train on a red audit; the reason goes on the card.")
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
def export(
    store: StoreArgument,
    output: Annotated[Path, typer.Option("--out", help="File to write.")],
    form: Annotated[
        str, typer.Option("--format", help="jsonl, csv, parquet (rows back) or trl (debiased pairs).")
    ] = "jsonl",
    table: Annotated[str, typer.Option(help="Table for the row formats.")] = "impressions",
    accept_red: Annotated[str | None, typer.Option(help="Export pairs on a red audit; say why.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Rows back out of a store, or debiased pairs for another trainer."""
    from unskew import export as exporter

    written = exporter.export(store, output, form=form, table=table, accept_red=accept_red)
    show(written, as_json, lambda: facts(str(output), written))


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


def interrupted(number: int, _: object) -> None:
    """Stop in order on the first interrupt; the second one ends the process at once."""
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: run the command, turn failures into exit codes and sentences."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupted)
    try:
        app()
    except Exception as error:
        if os.environ.get("UNSKEW_DEBUG"):
            raise
        sys.exit(explain(error))


def explain(error: Exception) -> int:
    """Print what happened and what to do; returns the exit code."""
    from unskew import _rust

    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("unskew"):
        err.print(
            f"this command needs {error.name}, which the core install leaves out. "
            "Run: pip install 'unskew[train]'",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return ExitCode.WRONG_USE
    known: list[tuple[type[Exception], ExitCode]] = [
        (_rust.BudgetExceeded, ExitCode.BAD_LINES),
        (_rust.StoreLocked, ExitCode.LOCKED),
        (_rust.ChecksumError, ExitCode.CHECKSUM),
        (OSError, ExitCode.IO),
    ]
    code = next((c for kind, c in known if isinstance(error, kind)), getattr(error, "exit_code", None))
    if code is None:
        if not isinstance(error, (ValueError, KeyError)):
            raise error
        code = ExitCode.WRONG_USE
    err.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
    return code


if __name__ == "__main__":
    main()
