"""Propensities: P(feedback is given) per two-sided kind, from a logged column, cell counts, or features.

    logged(probabilities, observed)                    a designed or randomised request for feedback
    cells(cell, observed, fold_key)                    counts, shrunk towards coarser cells
    fit(X, observed, fold_key, model=HeadClassifier)   a model of features, out of fold and calibrated
    two_stage(shown, reacted, was_shown, observed)     P(shown) P(reacted | shown), each from one of the above

each give p[N] and a `Report`; they hold when feedback does not depend on the hidden label given what p knows.
Where it does, p[N] cannot be right whatever the model, and

    classwise_from_gold, classwise_from_base_rate      p1 = P(observed | liked), p0 = P(observed | not liked)

Rows that are not `usable` (kind not offered, or window still open) get p = 1 and enter no figure: no
estimator reads them. p <= 0 or p > 1 is an error; 0 < p < floor is raised to the floor and counted.
"""

from unskew.propensity.calibration import platt
from unskew.propensity.classwise import Classwise, classwise_from_base_rate, classwise_from_gold
from unskew.propensity.fits import Model, cells, fit, logged
from unskew.propensity.measure import FLOOR, Bin, Propensity, Report, report
from unskew.propensity.stages import two_stage

__all__ = [
    "FLOOR",
    "Bin",
    "Classwise",
    "Model",
    "Propensity",
    "Report",
    "cells",
    "classwise_from_base_rate",
    "classwise_from_gold",
    "fit",
    "logged",
    "platt",
    "report",
    "two_stage",
]
