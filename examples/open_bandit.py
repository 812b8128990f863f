"""A real click log, through the store, to the value of a policy that was not running.

    python examples/open_bandit.py [DATA] [--store STORE]

The Open Bandit data hold two logs of the same shop page, 10,000 impressions each: one filled at random, one
by Bernoulli Thompson sampling (bts). Both are rewritten as canonical events (an impression a row, a click
event where somebody clicked), ingested into one store, and read back. Then: what would bts earn, judged from
the random log alone?

    w = P(item | position) under bts / logged propensity,   value = sum w click / sum w   (SNIPS)

with P(item | position) the frequency in the bts log. The click rate of the bts log itself stands beside it.
"""

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unskew.data import Store
from unskew.evaluate import PolicyValue, policy_value
from unskew.events import KIND, ingest

POLICIES = ("random", "bts")
CAMPAIGN = "men"


@dataclass(frozen=True)
class Log:
    """The rows of one policy as the store holds them.

    Args:
        item, position: what was shown, and where. Shape [N].
        click: whether somebody clicked. Shape [N].
        propensity: logged probability of the item at this position. Shape [N].
    """

    item: NDArray[np.int64]
    position: NDArray[np.int64]
    click: NDArray[np.bool_]
    propensity: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What came out.

    Args:
        logs: the rows of each policy.
        balance: books of the ingestion.
        clicks: clicks of each policy in the files.
        snips, ips: value of bts from the random log.
    """

    logs: dict[str, Log]
    balance: dict[str, int]
    clicks: dict[str, int]
    snips: PolicyValue
    ips: PolicyValue


def rows(folder: Path, policy: str) -> list[dict[str, str]]:
    """The rows of a log as they come."""
    with (folder / policy / CAMPAIGN / f"{CAMPAIGN}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def events(policy: str, logged: list[dict[str, str]]) -> Iterator[dict[str, object]]:
    """Canonical events of a log: every impression, and a click a second later where there was one."""
    for number, row in enumerate(logged):
        shown = datetime.fromisoformat(row["timestamp"])
        identity = f"{policy}-{number}"
        yield {
            "type": "impression",
            "id": identity,
            "shown_at": shown.isoformat(),
            "prompt": "/".join(row[f"user_feature_{column}"] for column in range(4)),
            "response": f"item {row['item_id']}",
            "surface": CAMPAIGN,
            "slot": int(row["position"]),
            "n_slots": 3,
            "policy_id": policy,
            "policy_prob": float(row["propensity_score"]),
            "offered": ["click"],
        }
        if row["click"] == "1":
            yield {
                "type": "feedback",
                "id": f"click-{identity}",
                "response": identity,
                "kind": "click",
                "at": (shown + timedelta(seconds=1)).isoformat(),
            }


def read(store: Store) -> dict[str, Log]:
    """The logs, back from the store."""
    shown = store.table("impressions", ["policy_id", "response", "slot", "policy_prob"]).to_pydict()
    happened = np.asarray(store.table("observations", ["pos_kinds"])["pos_kinds"]) & KIND["click"].mask > 0
    policy = np.array(shown["policy_id"])
    item = np.array([int(response.removeprefix("item ")) for response in shown["response"]])
    position = np.array(shown["slot"])
    propensity = np.array(shown["policy_prob"], dtype=np.float64)
    return {
        name: Log(
            item[policy == name],
            position[policy == name],
            happened[policy == name],
            propensity[policy == name],
        )
        for name in POLICIES
    }


def frequency(of: Log, at: Log) -> NDArray[np.float64]:
    """Frequency of (item | position) in the log `of`, for each row of the log `at`."""
    items = 1 + max(of.item.max(), at.item.max())
    table = np.zeros((1 + max(of.position.max(), at.position.max()), items))
    np.add.at(table, (of.position, of.item), 1)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return share[at.position, at.item]


def run(folder: Path, home: Path) -> Result:
    """Rewrite, ingest, read back, evaluate."""
    logged = {policy: rows(folder, policy) for policy in POLICIES}
    home.mkdir(parents=True, exist_ok=True)
    for policy in POLICIES:
        with (home / f"{policy}.jsonl").open("w", encoding="utf-8") as sink:
            for event in events(policy, logged[policy]):
                sink.write(json.dumps(event) + "\n")
    (home / "key").write_text("open bandit example: a key for pseudonyms\n")
    report = ingest([home / f"{p}.jsonl" for p in POLICIES], home / "store", key_file=home / "key")
    logs = read(Store.open(home / "store"))
    random = logs["random"]
    target = frequency(logs["bts"], random)
    return Result(
        logs=logs,
        balance=dict(report.balance),
        clicks={policy: sum(row["click"] == "1" for row in logged[policy]) for policy in POLICIES},
        snips=policy_value(random.click, random.propensity, target),
        ips=policy_value(random.click, random.propensity, target, estimator="ips"),
    )


def main() -> None:
    """Print the table."""
    base = Path(os.environ.get("UNSKEW_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "data", type=Path, nargs="?", default=base / "openbandit", help="with random/ and bts/"
    )
    parser.add_argument("--store", type=Path, help="keep the events and the store here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = run(options.data, options.store or Path(scratch))
    books = ", ".join(f"{name} {count:,}" for name, count in result.balance.items())
    print(f"books: {books}\n")
    print(f"{'log':<8}{'impressions':>12}{'clicks in files':>17}{'in the store':>14}{'click rate':>12}")
    for policy, log in result.logs.items():
        counts = f"{len(log.click):>12,}{result.clicks[policy]:>17}{log.click.sum():>14}"
        print(f"{policy:<8}{counts}{log.click.mean():>12.5f}")
    print("\nvalue of bts from the random log")
    for name, found in (("SNIPS", result.snips), ("IPS", result.ips)):
        interval = f"95 % interval {found.low:.5f} to {found.high:.5f}"
        print(f"{name:<8}{found.value:>9.5f}   {interval}   ESS {found.ess:,.0f} of {found.n:,}")
    for warning in result.snips.warnings:
        print(f"\n{warning}")


if __name__ == "__main__":
    main()
