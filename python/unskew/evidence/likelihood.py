"""The likelihood of everything recorded about a response, with the hidden label summed out.

Each response has one hidden r in {0, 1}, P(r = 1 | x) = sigmoid(z(x)). Every kind k that was offered, and
whose window is closed, happened or not, independently of the other kinds given (x, r):

    logit P(happened_k | x, r) = g_k(x) + (r - 1/2) (effect_k + growth_k z(x))
    logit P(recorded 1 | happened, r) = level_k + (r - 1/2) contrast_k        two-sided kinds

so 1 - fnr = sigmoid(level + contrast / 2) and fpr = sigmoid(level - contrast / 2). With l_r the sum over
kinds of log P(recorded | x, r), a row loses

    no gold label      softplus(z) - logaddexp(z + l_1, l_0)
    gold label y       softplus(z) - y (z + l_1) - (1 - y) l_0

z and g_k are linear in the features, with an offset each, and g_k has a random effect of the user. Without
g_k the hidden class turns into "gets feedback" as soon as some feature or some people's habit scales the rate
of feedback, so there is no way to leave them out. Signs are fixed by what a kind means: contrast > 0
(fnr + fpr < 1), effect > 0 for a positive and < 0 for a negative one-sided kind, which does not grow; the
effect of a two-sided kind, who answers, is free, and may grow with z: people who answer at both extremes do
so for liking the more the better a response is.

Choices between two responses join it in `compared`.

Source: Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm"
(1979), with heads in the place of constants and silence as a record; maximised directly instead of by EM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unskew.events import Kind
from unskew.evidence import compared
from unskew.evidence.compared import Compared

WORD = 15.0
"""Log-odds of a record that is taken at its word."""

FLAT = torch.zeros(1, dtype=torch.float64)
"""Effects that do not grow."""

SLOTS = torch.tensor([0.0, 2.9], dtype=torch.float64)
"""Choices that err in .18 of the cases, whatever the slot."""


@dataclass(frozen=True)
class Record:
    """What was recorded about N responses, K kinds.

    Args:
        usable: offered and closed. Shape [N, K], bool.
        happened: anything was recorded. Shape [N, K], bool.
        up: sign of the recorded label of a two-sided kind: 1, -1, and 0 where there is none. Shape [N, K].
        gold: true label in [0, 1], NaN where there is none. Shape [N].
        user: code of the user, -1 where unknown. Shape [N].
        sign: 0 for two-sided kinds, 1 and -1 for positive and negative one-sided ones. Shape [K].
        literal: whether records are taken at their word and silence says nothing; see `record_of`.
        compared: pairs of these responses of which one was chosen, or is better by gold.
    """

    usable: Tensor
    happened: Tensor
    up: Tensor
    gold: Tensor
    user: Tensor
    sign: Tensor
    literal: bool
    compared: Compared

    def at(self, rows: Tensor) -> "Record":
        """The given rows."""
        return Record(
            self.usable[rows],
            self.happened[rows],
            self.up[rows],
            self.gold[rows],
            self.user[rows],
            self.sign,
            self.literal,
            self.compared.at(rows, len(self.gold)),
        )


class Tables(NamedTuple):
    """Unconstrained numbers behind the tables; see `effect` and `contrast`.

    Args:
        effect: what liking adds to the log-odds of happening. Shape [K], or [N, K] where rows differ.
        level: mean log-odds of a recorded 1, two-sided kinds. Shape [K].
        contrast: what liking adds to them. Shape [K].
        slots: level and contrast of choices, by slot; see `compared.errors`. Shape [2].
        growth: what a unit of z adds to the effect of two-sided kinds; read there alone. Shape [K], or [1].
    """

    effect: Tensor
    level: Tensor
    contrast: Tensor
    slots: Tensor = SLOTS
    growth: Tensor = FLAT

    @classmethod
    def start(cls, sign: Tensor) -> "Tables":
        """fnr = fpr = .18; one-sided kinds three times as likely on their side, answers equally likely."""
        return cls(torch.where(sign == 0, 0.0, 0.7), torch.zeros_like(sign), torch.full_like(sign, 2.9))

    @classmethod
    def at_its_word(cls, sign: Tensor) -> "Tables":
        """No errors, and both classes answer alike: a record is the label, silence says nothing."""
        return cls(torch.zeros_like(sign), torch.zeros_like(sign), torch.full_like(sign, 2 * WORD))


def effect(tables: Tables, sign: Tensor, z: Tensor) -> Tensor:
    """Effect of the label on happening, with the sign that the kind declares. Shape [N, K]."""
    free = tables.effect + tables.growth * z[:, None]
    return torch.where(sign == 0, free, sign * softplus(tables.effect))


def contrast(tables: Tables) -> Tensor:
    """Effect of the label on the record, positive. Shape [K]."""
    return softplus(tables.contrast)


def record_given_label(line: Tensor, tables: Tables, record: Record) -> tuple[Tensor, Tensor]:
    """(l_1, l_0): log P(recorded | x, r) summed over the kinds usable on a row. Shape [N] each.

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    z, g = line[:, 0], line[:, 1:]
    half, tilt = effect(tables, record.sign, z) / 2, contrast(tables) / 2
    sided = 2.0 * record.happened - 1

    def given(r: int) -> Tensor:
        happening = logsigmoid(sided * (g + r * half))
        label = torch.where(record.up == 0, 0.0, logsigmoid(record.up * (tables.level + r * tilt)))
        return torch.where(record.usable, happening + label, 0.0).sum(1)

    return given(1), given(-1)


def happening(
    line: Tensor, tables: Tables, record: Record
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(happened | x, liked) and P(happened | x, not) of every kind. Shape [N, K] each.

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    g, half = line[:, 1:], effect(tables, record.sign, line[:, 0]) / 2
    return torch.sigmoid(g + half).numpy(), torch.sigmoid(g - half).numpy()


def losses(line: Tensor, tables: Tables, record: Record) -> Tensor:
    """Loss of each row; see the module. Shape [N].

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    liked, disliked = record_given_label(line, tables, record)
    return _losses(line[:, 0], liked, disliked, record)


def total(line: Tensor, tables: Tables, record: Record) -> Tensor:
    """Loss of all rows and pairs, added up.

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    z = line[:, 0]
    liked, disliked = record_given_label(line, tables, record)
    own = _losses(z, liked, disliked, record).sum()
    if not len(record.compared.a):
        return own
    pi = torch.where(torch.isnan(record.gold), torch.sigmoid(z + liked - disliked), record.gold)
    return own + compared.losses(record.compared, z, pi, tables.slots).sum()


def evidence(line: Tensor, tables: Tables, record: Record) -> Tensor:
    """log P(recorded | liked) / P(recorded | not), gold labels apart. Shape [N].

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    z = line[:, 0]
    liked, disliked = record_given_label(line, tables, record)
    d = liked - disliked
    return d + compared.messages(record.compared, z, torch.sigmoid(z + d), tables.slots)


def chances(line: Tensor, tables: Tables, record: Record) -> Tensor:
    """P(A is chosen | what else was recorded) of every pair with a choice. Shape [P].

    Args:
        line: z and g_1 .. g_K. Shape [N, 1 + K].
        tables: the tables.
        record: the record.
    """
    z = line[:, 0]
    liked, disliked = record_given_label(line, tables, record)
    return compared.chances(record.compared.chosen(), z, torch.sigmoid(z + liked - disliked), tables.slots)


def _losses(z: Tensor, liked: Tensor, disliked: Tensor, record: Record) -> Tensor:
    hidden = torch.logaddexp(z + liked, disliked)
    y = torch.nan_to_num(record.gold)
    known = y * (z + liked) + (1 - y) * disliked
    return softplus(z) - torch.where(torch.isnan(record.gold), hidden, known)


def record_of(
    kinds: Sequence[Kind],
    usable: Tensor,
    observed: Tensor,
    positive: Tensor,
    gold: Tensor,
    user: Tensor | None = None,
    pairs: Compared | None = None,
) -> Record:
    """The record from the columns of a log: two-sided labels signed, one-sided kinds happened or not.

    One two-sided kind alone, on however many surfaces, without a choice or a gold label, is taken at its
    word: what its errors are, and whether liking makes people answer, would follow from the shape of the
    curves alone, which no log has to keep to.
    """
    sign = torch.tensor([{"positive": 1.0, "negative": -1.0}.get(kind.side, 0.0) for kind in kinds])
    two = torch.tensor([kind.two_sided for kind in kinds], dtype=torch.bool)
    happened = torch.where(two, observed, positive) & usable
    up = torch.where(happened & two, 2.0 * positive - 1, 0.0)
    who = torch.full((len(gold),), -1) if user is None else user
    alone = voices(kinds, happened) == 1 and bool((happened.any(0) & two).any())
    pairs = Compared.of(None) if pairs is None else pairs
    literal = alone and not len(pairs.a) and bool(torch.isnan(gold).all())
    return Record(usable, happened, up.double(), gold, who, sign.double(), literal, pairs)


def voices(kinds: Sequence[Kind], happened: Tensor) -> int:
    """Kinds that happened at all; the parts of one kind on several surfaces are one voice.

    Args:
        kinds: the K kinds.
        happened: anything was recorded. Shape [N, K].
    """
    return len({kind.bit for kind, some in zip(kinds, happened.any(0).tolist(), strict=True) if some})
