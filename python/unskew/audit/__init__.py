"""The audit: what a feedback log can support, in figures and in words, before anything is trained on it.

    verdict = audit.audit(examples, propensities=..., rates=..., posterior=..., quality=..., covariates=...)
    verdict.colour, verdict.allowed, verdict.sentences
    plan = audit.gold_plan(examples, 600, seed=0)     # the rows worth labelling

`measure` computes figures from columns, `gates` compares those of a kind with limits, `whole` those of the
log, `choices` those of pairs,
`one_sided` those of clicks and copies read alone, `judge` decides, `words` says what follows, `verdict` is
the result. `users` finds who floods a log, `plan` chooses what to label, `power` says what that would show.
The limits are constants of `gates`.
"""

from unskew.audit.gates import FAMILIES
from unskew.audit.judge import audit
from unskew.audit.measure import covariates
from unskew.audit.plan import GoldPlan, Outlook, enough, gold_plan, outlook
from unskew.audit.users import Users, weigh_users
from unskew.audit.verdict import Gate, Verdict

__all__ = [
    "FAMILIES",
    "Gate",
    "GoldPlan",
    "Outlook",
    "Users",
    "Verdict",
    "audit",
    "covariates",
    "enough",
    "gold_plan",
    "outlook",
    "weigh_users",
]
