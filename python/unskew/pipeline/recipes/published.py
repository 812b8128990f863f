"""CausalRM (arXiv 2603.18736), Algorithm 1 with the defaults of its code, and our corrections one by one.

    propensity   a network for "was feedback given" by squared error on all rows, cut at clip_min
    rates        fnr = 1 - quantile_q of a proxy of the recorded label, fpr = its 1 - q quantile
    imputation   that proxy, which is P(recorded 1 | x), not P(liked | x)
    reward       IPS or DR columns in the logistic loss, the step with the least training loss

Corrections, each a setting; `corrected: true` makes those that are not set to false:

    clean_imputation        q = (proxy - fpr) / D, cut to [0, 1]: what double robustness asks for
    checked_rates           refused where D is .2 or less, never divided by 1e-6; fnr and fpr at most .45
    weighted_anchors        the proxy learns from answers weighted by 1 / p: selection does not shift it
    held_out                the step with the best corrected Brier score of held-out prompts
    calibrated_propensity   the propensity of the audit: cross-entropy, out of fold, calibrated
    bounded_loss            Brier in place of the logistic loss, which has no lower bound here

In force whatever is set: whole prompts are held out, never siblings of what was learned; nothing held out has
a label that was not recorded; networks for the nuisances are stopped on held-out records; rates are found
once, on all rows, since rates of every batch put a random D inside the loss.

Settings of the code that are not here, since they would change nothing: `w_reg`, `w_prop`, `w_noise`, `w_imp`
(Adam does not see the scale of a loss, and its decay is decoupled from it); `batch_size_full` (rates are
found once); `monitor_on` (that is `held_out`); `alpha`, `r10`, `r01` (they make the simulated log). Hidden
units are cut at zero, not leaky.
"""

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal

import numpy as np

from unskew import estimators, noise
from unskew.estimators import Columns
from unskew.noise import Noise
from unskew.pipeline.config import Refused
from unskew.pipeline.material import PROPENSITY_DECAYS, Material
from unskew.pipeline.recipes.parts import Target, predicted, propensity, two_sided
from unskew.rates import Bools, Floats
from unskew.reward.problem import Loss

LARGEST = 0.45
"""Rates above it are cut to it by `checked_rates`."""


@dataclass(frozen=True)
class CausalRM:
    """CausalRM-IPS, or -DR.

    Args:
        robust: DR.
        clip_min: floor of the propensity.
        quant: quantile of the anchors, in (.5, 1].
        head: `linear` networks for nuisances, and the run's own head for the reward; `mlp` is as published,
            for all of them, and takes minutes where `linear` takes seconds.
        hidden, lr, weight_decay, batch_size, num_epochs, patience: of the networks, with `mlp`.
        seed: of the networks (the code: 42).
        corrected: all of the corrections that are not set themselves.
        clean_imputation, checked_rates, weighted_anchors, held_out, calibrated_propensity, bounded_loss: one
            each, see the module; as `corrected` says when absent.

    Raises:
        ValueError: `head` is neither `linear` nor `mlp`, or `clip_min` is not in (0, 1].
    """

    robust: bool
    _: KW_ONLY
    clip_min: float = 0.1
    quant: float = 0.97
    head: Literal["linear", "mlp"] = "linear"
    hidden: tuple[int, ...] = (256, 64)
    lr: float = 2e-4
    weight_decay: float = 1e-6
    batch_size: int = 512
    num_epochs: int = 600
    patience: int = 30
    seed: int = 0
    corrected: bool = False
    clean_imputation: bool | None = None
    checked_rates: bool | None = None
    weighted_anchors: bool | None = None
    held_out: bool | None = None
    calibrated_propensity: bool | None = None
    bounded_loss: bool | None = None

    def __post_init__(self) -> None:
        if self.head not in ("linear", "mlp"):
            raise ValueError(f"head is {self.head!r}; it must be 'linear' or 'mlp'")
        if not 0 < self.clip_min <= 1:
            raise ValueError(f"clip_min is {self.clip_min}; it must be in (0, 1]")

    def on(self, correction: str) -> bool:
        """Whether a correction is made: as it is set, else as `corrected` says."""
        own = getattr(self, correction)
        return self.corrected if own is None else bool(own)

    def __call__(self, m: Material) -> Target:
        def make(name: str, y: Floats, o: Bools) -> Columns:
            usable, answered = m.usable[:, m.examples.kind(name)], o.astype(np.float64)
            p = self._propensity(m, name, usable, answered)
            weight = answered / np.maximum(p, self.clip_min) if self.on("weighted_anchors") else answered
            proxy = self._fitted(m, weight, y, "logistic")
            rate = self._rates(m, noise.quantile_anchors(proxy[m.inside & usable], self.quant, kind=name))
            options: dict[str, Any] = {"fnr": rate.fnr, "fpr": rate.fpr, "floor": self.clip_min}
            options["unsafe"] = not self.on("checked_rates") or m.hidden is not None
            if not self.robust:
                return estimators.ips(y, o, p, **options)
            q = (
                np.clip((proxy - rate.fpr) / max(rate.D, 1e-6), 0, 1)
                if self.on("clean_imputation")
                else proxy
            )
            return estimators.doubly_robust(y, o, p, q, **options)

        columns = two_sided(m, "causalrm", make, trust=False)
        return Target(columns, "brier" if self.on("bounded_loss") else "logistic", fit=self._reward())

    def _propensity(self, m: Material, name: str, usable: Bools, answered: Floats) -> Floats:
        """P(feedback) of each row, before the floor; 1 where the kind cannot be read. Shape [N]."""
        if self.on("calibrated_propensity"):
            return propensity(m, name)
        p = self._fitted(m, usable.astype(np.float64), answered, "brier")
        return np.where(usable, np.maximum(p, 1e-6), 1.0)

    def _rates(self, m: Material, found: Noise) -> Noise:
        """The anchors, cut and refused where that is asked for; fits that hide a fold only measure."""
        if not self.on("checked_rates"):
            return found
        if found.D <= noise.MIN_D and m.hidden is None:
            raise Refused(
                f"the anchors of {found.kind} give fnr {found.fnr:.3f} and fpr {found.fpr:.3f}: D is "
                f"{found.D:.3f}, and must be above {noise.MIN_D:g}. The proxy is too flat to read rates "
                "from; get gold labels"
            )
        return noise.known(min(found.fnr, LARGEST), min(found.fpr, LARGEST), kind=found.kind)

    def _fitted(self, m: Material, weight: Floats, label: Floats, loss: Loss) -> Floats:
        """P(label = 1 | x) of every row, by a network trained on the weighted rows inside. Shape [N]."""
        columns = Columns(weight, weight * label, 0 * weight)
        return predicted(m, columns, loss=loss, metric=loss, decays=PROPENSITY_DECAYS, **self._network())

    def _network(self) -> dict[str, Any]:
        """Arguments of `fit_head`."""
        if self.head == "linear":
            return {"head": "linear", "seed": self.seed}
        return {
            "head": "mlp",
            "hidden": tuple(self.hidden),
            "lr": self.lr,
            "decay": self.weight_decay,
            "batch": self.batch_size,
            "epochs": self.num_epochs,
            "patience": self.patience,
            "seed": self.seed,
        }

    def _reward(self) -> dict[str, Any]:
        """What differs from the run's own head."""
        chosen = {} if self.on("held_out") else {"select": "training"}
        return {**(self._network() if self.head == "mlp" else {}), **chosen}


CORRECTIONS = tuple(f.name for f in fields(CausalRM))[-6:]
"""Settings that `corrected` switches on together."""
