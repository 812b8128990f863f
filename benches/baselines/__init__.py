"""Published methods for selected or noisy feedback, to compare with; no part of the package.

    found = BASELINES["dr_jl"](Logged(X, y, observed, group), Tuning(lr=1e-3, weight_decay=1e-4, knob=0.05))
    found(X_new)         P(true label 1) of new rows
    found.held_out       how settings of one method are compared

`logged` says what a method is given, `loop` trains, every other file is one method: its paper, its equation,
what the public comparison code (yhc-666/Causal-RM, both states) does wrong, what is done here instead, its
knob and its GRID of six settings. Written from the formulas; no code is shared.

    naive, F-correction, co-teaching, CoDis,
    LabelWave, robust DivideMix, eps-softmax     observed rows, no weights
    CVIB                                         all rows, no weights
    MT-IPS, DR-JL, MT-DR, SDR, StableDR, UBPR    weights o / p, labels taken as they are
    CausalRM (IPS, DR)                           weights o / p, flips undone

Named by the paper on CausalRM and left out, because nobody outside can repeat them:

    SelectMix, ILDE    in neither state of the public code, and no loss of theirs was found in what is public

kMEIDTM is in the code and not in the paper's list: it feeds probabilities to a cross-entropy of logits, and
its transition network needs more observed rows than there are here; left out as well.
"""

from benches.baselines import (
    causalrm,
    co_teaching,
    codis,
    cvib,
    dr_jl,
    eps_softmax,
    f_correction,
    label_wave,
    mt_dr,
    mt_ips,
    naive,
    robust_dividemix,
    sdr,
    stable_dr,
    ubpr,
)
from benches.baselines.logged import Fit, Logged, Model, Tuning, grid

__all__ = ["BASELINES", "GRIDS", "Fit", "Logged", "Model", "Tuning", "grid"]

_FILES = {
    "naive": naive,
    "mt_ips": mt_ips,
    "mt_dr": mt_dr,
    "dr_jl": dr_jl,
    "sdr": sdr,
    "stable_dr": stable_dr,
    "cvib": cvib,
    "ubpr": ubpr,
    "f_correction": f_correction,
    "co_teaching": co_teaching,
    "codis": codis,
    "label_wave": label_wave,
    "robust_dividemix": robust_dividemix,
    "eps_softmax": eps_softmax,
}

BASELINES: dict[str, Fit] = {
    **{name: file.fit for name, file in _FILES.items()},
    "causalrm_ips": causalrm.ips,
    "causalrm_dr": causalrm.dr,
}
"""Methods by name."""

GRIDS: dict[str, tuple[Tuning, ...]] = {
    **{name: file.GRID for name, file in _FILES.items()},
    "causalrm_ips": causalrm.GRID,
    "causalrm_dr": causalrm.GRID,
}
"""Six settings of each."""
