"""Everything recorded, as one number a response; and what its head says without it."""

from unskew import estimators
from unskew.pipeline.config import Refused
from unskew.pipeline.material import Material
from unskew.pipeline.recipes.parts import Target, imputed


def evidence(m: Material) -> Target:
    """Everything recorded as one number, in the mixture loss."""
    if m.evidence is None:
        raise Refused("there is no evidence: no kind was offered on a response whose window is closed")
    return Target(m.evidence.columns(m.hidden), "mixture")


def imputation(m: Material) -> Target:
    """The out-of-fold head of evidence as the target of every row: distilled, its record not looked at."""
    return Target(estimators.imputation(imputed(m)), "brier")
