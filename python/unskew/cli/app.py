"""What every command shares: the application, exit codes, how things are shown, and how errors end."""

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
        extra = "sql" if str(error.name).startswith("adbc_driver") else "train"
        err.print(
            f"this command needs {error.name}, which the core install leaves out. "
            f"Run: pip install 'unskew[{extra}]'",
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
