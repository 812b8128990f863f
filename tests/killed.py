"""Work that kills its worker, where an engine can find it."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Killed:
    """Work whose process dies once, when what it wrote is there but not said."""

    work: Any
    marker: str

    def __call__(self, letters):
        return self._dying(self.work(letters))

    def batches(self, batches):
        yield from self._dying(list(self.work.batches(batches)))

    def _dying(self, answers):
        if self.work.stage == 0:
            try:
                Path(self.marker).touch(exist_ok=False)
            except FileExistsError:
                return answers
            os.kill(os.getpid(), signal.SIGKILL)
        return answers
