"""Watching for reward hacking: what a policy does when it has found the holes of its reward.

It writes longer or all the same, moves away from its reference, and is paid more and more for what nobody
likes. The last is only visible beside a gold reward that training does not see (arXiv 2210.10760).
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from unskew.losses.numeric import NumericError

KEPT = 5
"""Rounds that a report shows."""
SHOWN = ("reward", "reward_std", "gold", "kl", "entropy", "completions/mean_length", "completions/ended")


class Diverged(NumericError):
    """Training was stopped because a limit was passed; the message is the report."""


@dataclass(frozen=True)
class Limits:
    """Where training stops; None is no limit.

    Args:
        kl: mean KL of a completion from the reference, in nats, of a round.
        ratio: mean pi / pi_old of a micro-batch.
        entropy: share of the first round's entropy.
        length: times the first round's mean length.
        gold: fall of the gold reward below its best round.
    """

    kl: float | None = None
    ratio: float | None = None
    entropy: float | None = None
    length: float | None = None
    gold: float | None = None


ADVICE = {
    "KL": "raise kl_coef, set kl_target, or lower learning_rate",
    "ratio": "lower learning_rate or num_ppo_epochs",
    "entropy": "raise kl_coef or entropy_coef, or lower learning_rate",
    "length": "set missing_eos_penalty, or take the length out of the reward",
    "gold": "stop earlier, raise kl_coef, or debias the reward: it pays for what the gold reward does not",
}


@dataclass
class Monitor:
    """Figures of rounds against limits.

    Args:
        limits: where to stop.
        rounds: rounds seen.
        first: figures of the first round.
        best_gold: the gold reward's best round.
        recent: figures of the last rounds.
        warnings: what was noticed without being a reason to stop, one sentence each.
    """

    limits: Limits = field(default_factory=Limits)
    rounds: int = 0
    first: dict[str, float] = field(default_factory=dict)
    best_gold: float | None = None
    recent: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def round(self, figures: dict[str, float]) -> None:
        """Learn the figures of a round.

        Raises:
            Diverged: a limit was passed.
        """
        self.rounds += 1
        self.first = self.first or figures
        self.recent = [*self.recent, figures][-KEPT:]
        gold = figures.get("gold")
        if gold is not None:
            self.best_gold = gold if self.best_gold is None else max(gold, self.best_gold)
            self._compare(gold)
        self._stop("KL", figures.get("kl"), self.limits.kl)
        self._stop(
            "entropy", figures.get("entropy"), self._of_first("entropy", self.limits.entropy), below=True
        )
        self._stop(
            "length",
            figures.get("completions/mean_length"),
            self._of_first("completions/mean_length", self.limits.length),
        )
        if gold is not None and self.best_gold is not None and self.limits.gold is not None:
            self._stop("gold", gold, self.best_gold - self.limits.gold, below=True)

    def ratio(self, mean: float) -> None:
        """Learn the mean ratio of a micro-batch, before its gradient is used.

        One that is NaN makes the loss NaN, which is for the guard of the trainer to skip and to count.

        Raises:
            Diverged: it is above the limit.
        """
        if not math.isnan(mean):
            self._stop("ratio", mean, self.limits.ratio)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the limits, as JSON."""
        state = asdict(self)
        del state["limits"]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def _of_first(self, name: str, share: float | None) -> float | None:
        return None if share is None or name not in self.first else share * self.first[name]

    def _compare(self, gold: float) -> None:
        """Reward up and gold down since the oldest round at hand."""
        before = self.recent[0]
        if (
            len(self.recent) == KEPT
            and figures_rise(before, self.recent[-1])
            and gold < before.get("gold", gold)
        ):
            self.warnings.append(
                f"round {self.rounds}: over {KEPT} rounds the reward rose from {before['reward']:.4g} to "
                f"{self.recent[-1]['reward']:.4g} while the gold reward fell from {before['gold']:.4g} to "
                f"{gold:.4g}"
            )

    def _stop(self, what: str, found: float | None, limit: float | None, *, below: bool = False) -> None:
        if found is None or limit is None:
            return
        inside = found >= limit if below else found <= limit
        if not inside:  # also when found is NaN
            raise Diverged(self.report(what, found, limit, below))

    def report(self, what: str, found: float, limit: float, below: bool) -> str:
        """The figures of the last rounds under the reason."""
        side = "at least" if below else "at most"
        names = [name for name in SHOWN if any(name in figures for figures in self.recent)]
        lines = ["  round" + "".join(f"{name.removeprefix('completions/'):>13}" for name in names)]
        for number, figures in enumerate(self.recent, self.rounds - len(self.recent) + 1):
            lines.append(
                f"{number:7d}" + "".join(f"{figures.get(name, float('nan')):13.4g}" for name in names)
            )
        return (
            f"round {self.rounds}: {what} is {found:.4g}, it must be {side} {limit:.4g}; {ADVICE[what]}. "
            "The policy of the last checkpoint is older than this round.\n" + "\n".join(lines)
        )


def figures_rise(before: dict[str, float], now: dict[str, float]) -> bool:
    """Whether the reward is higher now."""
    return now["reward"] > before["reward"]
