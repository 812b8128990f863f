"""A reward over HTTP, in the words of OpenRLHF's `/get_reward`.

    POST {"query": [prompt and completion], "prompts": [...], "labels": [...]}
    200  {"rewards": [...], "scores": [...], "extra_logs": {...}}

`rewards` decide; null and NaN are values that are missing. Only the standard library is used.
"""

import json
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from unskew.ppo.rewards import Reply, Written

LARGEST = 64 << 20
"""Bytes of an answer at most."""


class Server:
    """A reward server.

    Args:
        url: its address, with the path.
        batch: completions in a request.
        timeout: seconds until a request counts as failed.
        attempts: tries of a request, with growing pauses.
        headers: further headers, e.g. an authorisation.
        label: data set column that is sent as `labels`.

    Raises:
        OSError: no attempt was answered.
        ValueError: the answer is not of the form above.
    """

    def __init__(
        self,
        url: str,
        *,
        batch: int = 64,
        timeout: float = 60.0,
        attempts: int = 3,
        headers: dict[str, str] | None = None,
        label: str = "label",
    ) -> None:
        self.url, self.batch, self.timeout, self.attempts = url, batch, timeout, attempts
        self.headers, self.label = {"Content-Type": "application/json", **(headers or {})}, label
        self.name = "server"
        self.logs: dict[str, Any] = {}
        """`extra_logs` of the last answer."""

    def __call__(self, written: Written) -> Reply:
        found: list[float | None] = []
        labels = written.columns.get(self.label, [None] * len(written.queries))
        for start in range(0, len(written.queries), self.batch):
            here = slice(start, start + self.batch)
            found += self._ask(written.queries[here], written.prompts[here], labels[here])
        return found

    def _ask(self, queries: list[str], prompts: list[Any], labels: list[Any]) -> list[float | None]:
        body = json.dumps({"query": queries, "prompts": prompts, "labels": labels}).encode()
        answer = self._post(body)
        try:
            document = json.loads(answer)
            rewards = document["rewards"]
            numbers = [None if one is None else float(one) for one in rewards]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{self.url} answered {answer[:200]!r}; JSON with a list `rewards` of numbers or null is "
                "needed"
            ) from None
        if len(numbers) != len(queries):
            raise ValueError(
                f"{self.url} answered {len(numbers)} rewards for {len(queries)} queries; one each is needed"
            )
        self.logs = document.get("extra_logs") or {}
        return numbers

    def _post(self, body: bytes) -> bytes:
        for attempt in range(1, self.attempts + 1):
            try:
                with urlopen(Request(self.url, body, self.headers), timeout=self.timeout) as reply:
                    answer: bytes = reply.read(LARGEST + 1)
                if len(answer) > LARGEST:
                    raise ValueError(
                        f"{self.url} answered more than {LARGEST >> 20} MiB; one number a query is needed"
                    )
                return answer
            except HTTPError as error:
                reason, final = f"HTTP {error.code}", 400 <= error.code < 500 and error.code not in (408, 429)
                error.close()
            except (OSError, HTTPException) as error:
                reason, final = str(error), False
            if final or attempt == self.attempts:
                break
            time.sleep(0.2 * 2**attempt)
        raise OSError(f"{self.url}: {reason} after {attempt} attempts; check that the reward server runs")
