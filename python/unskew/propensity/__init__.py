"""Propensities: P(feedback is given) per two-sided kind, from a logged column, cell counts, or features.

    logged(probabilities, observed)                    a designed or randomised request for feedback
    cells(cell, observed, fold_key)                    counts, shrunk towards coarser cells
    fit(X, observed, fold_key, model=HeadClassifier)   a model of features, out of fold and calibrated
    two_stage(shown, reacted, was_shown, observed)     P(shown) P(reacted | shown), each from one of the above

each give p[N] and a `Report`; they hold when feedback does not depend on the hidden label given what p knows.
Where it does, p[N] cannot be right whatever the model, and

    classwise_from_gold, classwise_from_base_rate      p1 = P(observed | liked), p0 = P(observed | not liked)

What counts alone say, before any fit:

    delays, corrected          how long feedback takes; rates in which young responses count for what they are
    shrunk, nested             rates of cells that lean on coarser cells, with their variance
    pbm, all_pairs, ratio      how much more often the first slot is looked at (`position`)
    chains                     attraction and satisfaction in ranked lists and chains (`cascade`)
    joint, crossed             feedback on two responses of a session; two kinds on one response
    check_policy               whether logged probabilities behave like the draw they describe
    sums                       weights, calibration and balance as exact sums that add up over parts

Rows that are not `usable` (kind not offered, or window still open) get p = 1 and enter no figure: no
estimator reads them. p <= 0 or p > 1 is an error; 0 < p < floor is raised to the floor and counted.
"""

from unskew.propensity import sums
from unskew.propensity.calibration import platt
from unskew.propensity.cascade import Chains, chains
from unskew.propensity.classwise import Classwise, classwise_from_base_rate, classwise_from_gold
from unskew.propensity.delay import Delays, Rates, corrected, delays
from unskew.propensity.fits import Model, cells, fit, logged
from unskew.propensity.measure import FLOOR, Bin, Propensity, Report, report
from unskew.propensity.policy import PolicyCheck, check_policy
from unskew.propensity.position import Slots, all_pairs, pbm, ratio
from unskew.propensity.shrink import Shrunk, nested, shrunk
from unskew.propensity.stages import two_stage
from unskew.propensity.together import Joint, crossed, joint

__all__ = [
    "FLOOR",
    "Bin",
    "Chains",
    "Classwise",
    "Delays",
    "Joint",
    "Model",
    "PolicyCheck",
    "Propensity",
    "Rates",
    "Report",
    "Shrunk",
    "Slots",
    "all_pairs",
    "cells",
    "chains",
    "check_policy",
    "classwise_from_base_rate",
    "classwise_from_gold",
    "corrected",
    "crossed",
    "delays",
    "fit",
    "joint",
    "logged",
    "nested",
    "pbm",
    "platt",
    "ratio",
    "report",
    "shrunk",
    "sums",
    "two_stage",
]
