"""Logs and stores: in, checked, one person out, rows back."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unskew.cli.app import (
    JsonFlag,
    KeyOption,
    StoreArgument,
    app,
    out,
    show,
    stage,
)
from unskew.terminal import (
    facts,
    flat,
    refusals,
)

MemoryOption = Annotated[
    str | None,
    typer.Option(help="Memory for what is remembered of the events, as 256MB; the rest goes to disk."),
]


@app.command()
def ingest(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Files, globs or directories of logs (JSON, CSV, TSV, Parquet); - is stdin. "
            "Or one database: postgresql://user@host/name, sqlite:///file."
        ),
    ],
    store: Annotated[Path | None, typer.Option(help="Store directory, made when absent.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Product that wrote them, by the name of its mapping. Default: canonical lines."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Mapping of another product, a TOML file (docs/mappings.md).")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of the database to read.")] = None,
    query: Annotated[str | None, typer.Option(help="SELECT to read of the database.")] = None,
    cursor: Annotated[
        str | None,
        typer.Option(help="Column that only grows: the next run reads from its last value on."),
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
    keep_addresses: Annotated[
        bool, typer.Option(help="Keep fields that hold e-mail or IP addresses; they are left out by default.")
    ] = False,
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Keep the rows of a gzip or zstd file that is cut off."),
    ] = False,
    memory: MemoryOption = None,
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
    meant: events.Inputs | events.Query = inputs
    if table or query or cursor or any("://" in name for name in inputs):
        if len(inputs) > 1:
            raise ValueError("a database is read alone: give one address, with --table or --query")
        meant = events.Query(inputs[0], table=table, query=query, cursor=cursor)
    if dry_run:
        with stage("reading the log"):
            coverage = events.dry_run(meant, source=source, mapping=mapping, until=until, salvage=salvage)
        show(coverage.to_dict(), as_json, lambda: facts("what is in the inputs", coverage.summary()))
        if not as_json:
            for line in refusals(coverage.samples):
                out.print(line, markup=False, soft_wrap=True)
            out.print(f"not carried: {', '.join(coverage.lost) or 'nothing'}", markup=False, highlight=False)
        return
    if store is None:
        raise ValueError("--store DIR is needed, or --dry-run")
    with stage("reading the log"):
        result = events.ingest(
            meant, store, source=source, mapping=mapping, max_bad=max_bad, until=until, key_file=key,
            keep_raw=keep_raw, keep_addresses=keep_addresses, salvage=salvage, memory=memory,
        )  # fmt: skip
    document = result.to_dict()
    if report:
        report.write_text(json.dumps(document, indent=1))
    show(document, as_json, lambda: facts(f"store {store}", result.summary()))
    if as_json:
        return
    for line in refusals(result.samples):
        out.print(line, markup=False, soft_wrap=True)
    if result.balance["quarantined"] and not result.balance["committed"] + result.balance["duplicate"]:
        hint = "Every line was refused. A log of another product is read with --source or --mapping"
        out.print(f"[yellow]{hint}; --dry-run says beforehand what is in it.[/]")


def _found(result: dict[str, Any]) -> dict[str, Any]:
    """What a person is shown of a result whose store is in the title, and which was committed."""
    return flat({name: value for name, value in result.items() if name not in ("store", "committed")})


@app.command()
def verify(
    store: StoreArgument, key: KeyOption = None, memory: MemoryOption = None, as_json: JsonFlag = False
) -> None:
    """Check every file of a store against its checksum and print the store digest."""
    from unskew import events

    with stage("checking"):
        result = events.verify(store, key_file=key, memory=memory)
    show(result, as_json, lambda: facts(f"{store} is whole", _found(result)))


@app.command()
def erase(
    user: Annotated[str, typer.Argument(help="Id of the person, as the log has it.")],
    store: Annotated[Path, typer.Option(help="Store directory made by `unskew ingest`.")],
    key: KeyOption = None,
    memory: MemoryOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take one person out of a store: what is left is what a log without them gives."""
    from unskew import events

    with stage("erasing"):
        result = events.erase(user, store, key_file=key, memory=memory)
    if result["committed"]:
        show(result, as_json, lambda: facts(f"erased from {store}", _found(result)))
    else:
        show(result, as_json, lambda: f"{store} holds nothing of this person; the id must be that of the log")


@app.command()
def compact(store: StoreArgument, as_json: JsonFlag = False) -> None:
    """Join the small files that many runs leave in a store; rows and what was made from them stay."""
    from unskew import events

    with stage("joining"):
        result = events.compact(store)
    if result["committed"]:
        show(result, as_json, lambda: facts(f"parts of {store} joined", _found(result)))
    else:
        show(result, as_json, lambda: f"{store} has nothing to join: {result['parts']} parts")


@app.command()
def export(
    store: StoreArgument,
    output: Annotated[
        Path, typer.Option("--out", help="File to write; for Parquet, a name without an ending is a folder.")
    ],
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
