"""How good a reward model is: against the truth, against gold labels, and against logs, always with
intervals.

    metrics(probability, truth)                     oracle labels or probabilities
    against_gold(probability, label, design, prob)  gold, by the inverse of its design
    preferences(probability, label, design, prob)   gold pairs: which of two responses is better
    against_log(probability, columns)               columns of `estimators`: corrected, weighted feedback
    compare(a, b, truth)                            two models on the same rows: the difference
    policy_value(reward, logged_prob, target_prob)  what another policy would earn, from a log

    Log.of(estimator, noise)                        a log whose error rates are estimates
    log_metrics(probability, log)                   as `against_log`, and the intervals know about the rates
    log_compare(a, b, log)                          two models on the same log
    powered(probability, columns, gold)             gold, sharpened by pseudo-labels on every row of the log
    powered_compare(a, b, columns, gold)            two models by gold, sharpened by pseudo-labels
    log_calibration, powered_calibration            predicted and true, bin by bin, with intervals
    gold_test(probability, log, gold)               does the log agree with gold
    drift(probability, log, window)                 metrics by window of time, and whether they changed
    mean_drift, drift_of_rates                      the same for the mean of a number, and for a rate
    mix_drift(dimension, window)                    whether what is shown changed: PSI, Jensen-Shannon
    page_hinkley(values, change=...)                the row at which a mean is found to have moved
    bounds(probability, columns, gamma)             if the propensities are wrong by an odds ratio gamma
    label_odds(observed, p, gold)                   the gamma that gold sees
    rate_range(probability, log)                    over a region of the error rates
    compare_bounds(a, b, columns, gamma)            the same for the difference of two models
    tipping_gamma(a, b, columns)                    the gamma at which a comparison flips
    tipping_rates(a, b, log)                        the error rates at which it flips
    validity(way, ...)                              may the interval of a way of measuring be believed
    logs                                            logs made of logs: kinds joined, classes, pairs, best of n

Every metric is a function of two numbers a row, the weight a and the weighted truth b of `estimators.Columns`
(complete truth t: a = 1, b = t). With s the predicted probability, and sums over rows,

    brier          sum (a s^2 - 2 b s + b) / sum a
    log_loss       sum (b l + (a - b) m) / sum a,  l = -log s, m = -log(1 - s), s kept in [.01, .99]
    accuracy       sum (b [s >= 1/2] + (a - b) [s < 1/2]) / sum a
    mean_error     sum (a s - b) / sum a
    r2             1 - brier / (m (1 - m)),  m = sum b / sum a
    auc            P(s of a liked row > s of a disliked one), weights b and a - b, ties count half
    ece            sum over bins of |sum a s - sum b| / sum a
    best_of_n      mean truth of the response predicted best among n drawn from all rows, exactly
    best_of_group  the same within each group of responses shown together

A probability as truth counts as a share b of a liked and 1 - b of a disliked response, so `brier` is the
expected one of the hidden label. Intervals of the first group: Bayesian bootstrap of whole clusters
(prompts), value +- 1.96 standard deviations; for the same seed two models get the same weights, which is what
pairs a comparison. Those of the second group: influence functions, summed by cluster (`evaluate.influence`).
"""

from unskew.evaluate import logs
from unskew.evaluate.calibration import bins_of, log_calibration, powered_calibration
from unskew.evaluate.drift import drift, drift_of_rates, mean_drift
from unskew.evaluate.influence import LOG_METRICS, Log, log_compare, log_metrics
from unskew.evaluate.metrics import (
    METRICS,
    against_gold,
    against_log,
    compare,
    histogram,
    metrics,
    preferences,
    reliability,
)
from unskew.evaluate.policy import PolicyValue, policy_value
from unskew.evaluate.powered import POWERED_METRICS, gold_test, powered, powered_compare
from unskew.evaluate.region import rate_range, tipping_rates
from unskew.evaluate.sensitivity import bounds, compare_bounds, label_odds, tipping_gamma
from unskew.evaluate.shift import Alarm, distances, mix_drift, page_hinkley
from unskew.evaluate.validity import WAYS, Validity, validity

__all__ = [
    "LOG_METRICS",
    "METRICS",
    "POWERED_METRICS",
    "WAYS",
    "Alarm",
    "Log",
    "PolicyValue",
    "Validity",
    "against_gold",
    "against_log",
    "bins_of",
    "bounds",
    "compare",
    "compare_bounds",
    "distances",
    "drift",
    "drift_of_rates",
    "gold_test",
    "histogram",
    "label_odds",
    "log_calibration",
    "log_compare",
    "log_metrics",
    "logs",
    "mean_drift",
    "metrics",
    "mix_drift",
    "page_hinkley",
    "policy_value",
    "powered",
    "powered_calibration",
    "powered_compare",
    "preferences",
    "rate_range",
    "reliability",
    "tipping_gamma",
    "tipping_rates",
    "validity",
]
