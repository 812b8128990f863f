"""A draw as files: canonical JSON lines in order of arrival, gold.jsonl, and the oracle file."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from unskew.simulate import words
from unskew.simulate.bots import flood
from unskew.simulate.dirt import broken
from unskew.simulate.gold import Gold, choose
from unskew.simulate.sample import DAY, START, Draw, draw
from unskew.simulate.truth import write_oracle
from unskew.simulate.world import KINDS, World

Ints = NDArray[np.int64]

MINUTE, HOUR = 60_000_000, 3_600_000_000
_BATCH = 4096


@dataclass(frozen=True)
class Simulation:
    """What `simulate` wrote.

    Args:
        directory: where.
        events: event files, in order of arrival.
        gold, oracle: the gold file and the oracle file.
        responses, requests, users: sizes of the log.
        lines: lines of all event files: first sendings, repeats and broken lines.
        feedback: feedback events of each kind, earlier opposite thumbs included.
        responses_with: responses that each kind was recorded for.
        repeated, late, disordered, revised: events sent twice, feedback that arrived late, impressions that
            arrived late, thumbs given after an opposite one.
        broken: broken lines by sort.
        gold_random, gold_stratified: gold rows of each part.
        base_rate: share of true r = 1.
        capped: selection weights that passed 1 and were set to 1.
        spurious_correlation: of the spurious factor with recorded thumbs, None without the factor.
        first, last: first and last time of an event.
    """

    directory: str
    events: list[str]
    gold: str
    oracle: str
    responses: int
    requests: int
    users: int
    lines: int
    feedback: dict[str, int]
    responses_with: dict[str, int]
    repeated: int
    late: int
    disordered: int
    revised: int
    broken: dict[str, int]
    gold_random: int
    gold_stratified: int
    base_rate: float
    capped: int
    spurious_correlation: float | None
    first: str
    last: str


def simulate(
    directory: "str | Path",
    n_responses: int = 16_000,
    world: World = World(),  # noqa: B008 (frozen)
    seed: int = 0,
    *,
    gold: tuple[int, int] = (400, 200),
    compress: Literal["gz", "zst"] | None = None,
    shards: int = 1,
    dirty: int = 0,
    bots: tuple[int, float] | None = None,
) -> Simulation:
    """Write a product log with known truth: events/*.jsonl, gold.jsonl and oracle_responses.arrow.

    The same arguments write the same bytes.

    Args:
        directory: created when absent; files of the same names are replaced.
        n_responses: responses in the log, at least 1.
        world: who gives feedback, and with what errors.
        seed: seed of every random choice.
        gold: rows of the stratified and of the random part of the gold set.
        compress: `gz`, `zst`, or plain when absent.
        shards: event files, at least 1; they follow the order of arrival.
        dirty: broken lines to scatter among the good ones.
        bots: how many bots come on top, and their share of all feedback events (`bots.flood`).

    Raises:
        ValueError: a count is out of range, or `compress` is unknown.

    Example:
        >>> simulate("log", n_responses=1000, world=WORLDS["features"]).lines  # doctest: +SKIP
        1702
    """
    if shards < 1 or dirty < 0:
        raise ValueError(f"shards is {shards} and dirty is {dirty}; expected shards >= 1 and dirty >= 0")
    if compress not in (None, "gz", "zst"):
        raise ValueError(f"compress is {compress!r}; it must be 'gz', 'zst' or None")
    drawn = draw(world, n_responses, seed)
    if bots is not None:
        drawn = flood(drawn, *bots)
    chosen = choose(drawn, *gold, seed=seed)
    root = Path(directory)
    (root / "events").mkdir(parents=True, exist_ok=True)
    for old in (root / "events").glob("part-*.jsonl*"):
        old.unlink()
    log = _Log.of(drawn)
    bad = broken(dirty, seed)
    paths = []
    parts = zip(np.array_split(log.order, shards), _scatter(bad, shards), strict=True)
    for number, (order, dirt) in enumerate(parts):
        path = root / "events" / f"part-{number:05d}.jsonl{'.' + compress if compress else ''}"
        _write(path, log, order, dirt, np.random.default_rng([seed, 11, number]))
        paths.append(str(path))
    _write_gold(root / "gold.jsonl", drawn, chosen)
    write_oracle(root / "oracle_responses.arrow", drawn)
    times = log.at[log.order]
    thumbs = drawn.observed[:, 0]
    return Simulation(
        directory=str(root),
        events=paths,
        gold=str(root / "gold.jsonl"),
        oracle=str(root / "oracle_responses.arrow"),
        responses=len(drawn),
        requests=int(drawn.request[-1]) + 1,
        users=len(np.unique(drawn.user)),
        lines=len(log.order) + dirty,
        feedback={kind: int((log.kind == column).sum()) for column, kind in enumerate(KINDS)},
        responses_with={kind: int(drawn.observed[:, column].sum()) for column, kind in enumerate(KINDS)},
        repeated=len(log.order) - len(log.at),
        late=int((log.lag[log.kind >= 0] > 0).sum()),
        disordered=int((log.lag[log.kind < 0] > 0).sum()),
        revised=int(log.earlier.sum()),
        broken=dict(sorted(Counter(sort for sort, _ in bad).items())),
        gold_random=int((~chosen.stratified).sum()),
        gold_stratified=int(chosen.stratified.sum()),
        base_rate=float(drawn.label.mean()),
        capped=drawn.capped,
        spurious_correlation=None
        if world.spurious == "none"
        else float(np.corrcoef(drawn.spurious[thumbs], drawn.positive[thumbs, 0])[0, 1]),
        first=_stamp(times.min(keepdims=True))[0],
        last=_stamp(times.max(keepdims=True))[0],
    )


@dataclass(frozen=True)
class _Log:
    """All events of a draw: E events, of which `order` lists the sendings in order of arrival."""

    drawn: Draw
    row: Ints  # [E] response
    kind: Ints  # [E] column of KINDS, -1 for the impression itself
    at: Ints  # [E] microseconds after START
    lag: Ints  # [E] microseconds until arrival
    earlier: NDArray[np.bool_]  # [E] an opposite thumb, given before the one that counts
    order: Ints  # [sendings] event numbers

    @classmethod
    def of(cls, drawn: Draw) -> "_Log":
        world, n = drawn.world, len(drawn)
        rng = np.random.default_rng([drawn.seed, 5])
        row, kind = np.nonzero(drawn.observed)
        thumbs = np.flatnonzero((kind == 0) & (rng.random(len(kind)) < world.revised))
        revised_delay = drawn.delay[row[thumbs], 0] // 2
        row = np.concatenate([np.arange(n), row[thumbs], row]).astype(np.int64)
        kind = np.concatenate([np.full(n, -1), kind[thumbs], kind]).astype(np.int64)
        earlier = np.zeros(len(row), np.bool_)
        earlier[n : n + len(thumbs)] = True
        delay = np.where(kind < 0, 0, drawn.delay[row, np.maximum(kind, 0)])
        delay[earlier] = revised_delay
        at = drawn.shown_at[row] + delay
        share = np.where(kind < 0, world.disordered, np.where(earlier, 0.0, world.late))
        span = np.where(
            kind < 0, HOUR // 2 + rng.random(len(row)) * 11.5 * HOUR, HOUR * (1 + 19 * rng.random(len(row)))
        )
        lag = np.where(rng.random(len(row)) < share, span, 0).astype(np.int64)
        again = np.flatnonzero(rng.random(len(row)) < world.repeated)
        arrival = np.concatenate([at + lag, (at + lag)[again] + rng.integers(MINUTE, DAY, len(again))])
        events = np.concatenate([np.arange(len(row)), again])
        return cls(drawn, row, kind, at, lag, earlier, events[np.argsort(arrival, kind="stable")])

    def lines(self, order: Ints) -> Iterator[bytes]:
        """The JSON line of each event of `order`."""
        at, received = _stamp(self.at[order]), _stamp((self.at + self.lag)[order])
        rows, kinds = self.row[order].tolist(), self.kind[order].tolist()
        lag, earlier = self.lag[order].tolist(), self.earlier[order].tolist()
        for number, event in enumerate(order.tolist()):
            if kinds[number] < 0:
                line = self._impression(rows[number], at[number])
            else:
                line = self._feedback(event, rows[number], kinds[number], earlier[number], at[number])
            if lag[number]:
                line["received_at"] = received[number]
            yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()

    def _impression(self, row: int, at: str) -> dict[str, Any]:
        drawn = self.drawn
        surface = _SURFACES[drawn.surface[row]]
        return {
            "type": "impression",
            "id": drawn.response_id[row],
            "request": f"q{drawn.request[row]:08d}",
            "user": f"u{drawn.user[row]:06d}",
            "session": f"s{drawn.session[row]:08d}",
            "turn": int(drawn.turn[row]),
            "model": _MODELS[drawn.model[row]],
            "surface": surface,
            "lang": "en",
            "slot": int(drawn.slot[row]),
            "n_slots": int(drawn.n_slots[row]),
            "policy_id": "mix-1",
            "policy_prob": float(drawn.policy_prob[row]),
            "offered": list(words.SURFACES[surface][1]),
            "shown_at": at,
            "prompt": drawn.prompt[row],
            "response": drawn.response[row],
        }

    def _feedback(self, event: int, row: int, kind: int, earlier: bool, at: str) -> dict[str, Any]:
        line: dict[str, Any] = {
            "type": "feedback",
            "id": f"f{event:09d}",
            "response": self.drawn.response_id[row],
            "kind": KINDS[kind],
            "at": at,
        }
        if kind == _THUMBS:
            line["value"] = "up" if self.drawn.positive[row, kind] != earlier else "down"
        elif kind == _RATING:
            line["value"] = int(self.drawn.stars[row])
        return line


_MODELS, _SURFACES = list(words.MODELS), list(words.SURFACES)
_THUMBS, _RATING = KINDS.index("thumbs"), KINDS.index("rating")


def _stamp(time: Ints) -> list[str]:
    """RFC 3339 with milliseconds, UTC."""
    texts = np.datetime_as_string(
        (START + time.astype("timedelta64[us]")).astype("datetime64[ms]"), unit="ms"
    )
    return [f"{moment}Z" for moment in texts]


def _scatter(bad: list[tuple[str, bytes]], shards: int) -> list[list[bytes]]:
    """Broken lines dealt to the shards in turn."""
    return [[line for _, line in bad[number::shards]] for number in range(shards)]


def _write(path: Path, log: _Log, order: Ints, dirt: list[bytes], rng: np.random.Generator) -> None:
    """One shard: the events of `order` with the broken lines at random places."""
    places = np.sort(rng.integers(0, len(order) + 1, len(dirt))).tolist()
    waiting = list(zip(places, dirt, strict=True))[::-1]
    with _open(path) as sink:
        written = 0
        for start in range(0, max(len(order), 1), _BATCH):
            batch = []
            for line in log.lines(order[start : start + _BATCH]):
                while waiting and waiting[-1][0] <= written:
                    batch.append(waiting.pop()[1])
                batch.append(line)
                written += 1
            sink.write(b"".join(line + b"\n" for line in batch))
        sink.write(b"".join(line + b"\n" for _, line in reversed(waiting)))


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """A file that compresses as its name says, without a time stamp inside."""
    with path.open("wb") as plain:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0, compresslevel=6) as packed:
                yield cast("IO[bytes]", packed)
        elif path.suffix == ".zst":
            import pyarrow as pa

            with pa.CompressedOutputStream(pa.PythonFile(plain, mode="w"), "zstd") as packed:
                yield packed
        else:
            yield plain


def _write_gold(path: Path, drawn: Draw, chosen: Gold) -> None:
    with path.open("wb") as sink:
        for row, stratified, prob in zip(
            chosen.row.tolist(), chosen.stratified.tolist(), chosen.prob.tolist(), strict=True
        ):
            line = {
                "type": "gold",
                "response": drawn.response_id[row],
                "label": int(drawn.label[row]),
                "design": "stratified" if stratified else "random",
                "prob": prob,
                "annotator": "expert-1",
            }
            sink.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
