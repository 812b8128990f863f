"""Evidence: everything recorded about a response, silence and gold included, as one number.

    found = evidence.fit(X, kinds, usable, observed, positive, prompt_hash, gold=gold, choices=pairs)
    found.d          log P(recorded | liked) / P(recorded | not liked), out of fold: feeds any reward model
    found.q          P(liked | x), out of fold: the imputation
    found.tables     P(happened | liked), error rates, ... with intervals
    found.columns()  (w, d, m) for the mixture loss
    found.checks     counts beside what the fit expects, with p values

`likelihood` states the formula, `compared` that of choices between two responses, `descent` minimises it,
`fit` does so out of fold, `tables` reads the rates, `checks` compares the fit with the counts, `result` is
what comes out. An AI judge is one more two-sided kind.
"""

from unskew.evidence.fit import fit
from unskew.evidence.result import Evidence

__all__ = ["Evidence", "fit"]
