"""Error rates of the record: known, from gold labels, from repeated labels, or from weaker ground.

    two-sided kinds     fnr = P(recorded 0 | true 1, recorded),  fpr = P(recorded 1 | true 0, recorded)
    one-sided kinds     P(happened | liked),  P(happened | not liked)

    from unskew import noise

    found = noise.by_kind(kinds, usable, observed, positive, gold, design, prob)
    found["thumbs"].checked()     # raises NoiseRefused when D = 1 - fnr - fpr leaves too little

A two-sided kind with D <= .2, or whose D may well be below .15, is refused: dividing by D would multiply
every error of the record. One-sided kinds are never divided by and never refused.

    what there is                     function             holds when
    gold labels                       from_gold, by_kind   gold was chosen at random, or as declared
      in cells of different rates     by_cell              rates depend on cell and truth only
      of rows with two kinds          independence         tests that kinds err apart, given the truth
    several sources, the same items   dawid_skene          they err apart; trust or gold names the classes
    several labels of one sort        from_agreement,      they err apart, at one symmetric rate
                                      leave_one_out
    pairs shown in both orders        from_swaps,          both readings err apart; the position bias
                                      position_bias        alone needs no assumption
    a model of the record, no more    confident_joint,     the model parts the classes and nothing selects;
                                      quantile_anchors     unsafe on logs
"""

from unskew.noise.agreement import LeaveOneOut, from_agreement, leave_one_out
from unskew.noise.anchors import quantile_anchors
from unskew.noise.cells import Cells, by_cell
from unskew.noise.confident import confident_joint
from unskew.noise.dependence import Association, Independence, independence
from unskew.noise.gold import by_kind, from_gold, happening_from_gold
from unskew.noise.pooling import PRIOR, shrink
from unskew.noise.records import MIN_D, MIN_D_LOW, Happening, Noise, NoiseRefused, Source, known
from unskew.noise.repeated import NoiseWarning, Repeated, dawid_skene
from unskew.noise.swapped import Position, Swaps, from_swaps, position_bias

__all__ = [
    "MIN_D",
    "MIN_D_LOW",
    "PRIOR",
    "Association",
    "Cells",
    "Happening",
    "Independence",
    "LeaveOneOut",
    "Noise",
    "NoiseRefused",
    "NoiseWarning",
    "Position",
    "Repeated",
    "Source",
    "Swaps",
    "by_cell",
    "by_kind",
    "confident_joint",
    "dawid_skene",
    "from_agreement",
    "from_gold",
    "from_swaps",
    "happening_from_gold",
    "independence",
    "known",
    "leave_one_out",
    "position_bias",
    "quantile_anchors",
    "shrink",
]
