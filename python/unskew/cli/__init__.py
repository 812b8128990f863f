"""The command line: parse, call one function, print. Exit codes are in `ExitCode`.

`app` holds what commands share; `demo`, `logs` and `models` hold the commands, in the order of the help.
"""

from unskew.cli import demo, logs, models  # noqa: F401  (importing them registers their commands)
from unskew.cli.app import ExitCode, app, explain, main

__all__ = ["ExitCode", "app", "explain", "main"]
