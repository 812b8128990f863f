"""Choices between two responses in the likelihood: a choice is a record about two hidden labels.

With A in the slot before B, r their hidden labels and z their log-odds, t says which of them is better:

    r_A = 1, r_B = 0    A
    r_A = 0, r_B = 1    B
    r_A = r_B           A with probability sigmoid(z_A - z_B): another look decides
    P(A chosen | t)     1 - fnr where A is better, fpr where B is; their mean where no slots are known

Whoever chooses likes what the other kinds speak of. Before anything else is recorded P(A is better | x) is
that of Bradley and Terry, whatever z: with q = sigmoid(z),

    q_A (1 - q_B) + (q_A q_B + (1 - q_A) (1 - q_B)) sigmoid(z_A - z_B) = sigmoid(z_A - z_B)

so choices alone give the forward-corrected pairwise likelihood. With l_r as in `likelihood`, a row has the
log-odds e = z + l_1 - l_0, or its gold label; with pi = sigmoid(e) in the place of q above, a pair adds

    no gold      - log (P(A) c_A + P(B) c_B)                                      c_t = P(recorded choice | t)
    gold y       - y log (sigmoid(z_A - z_B) c_A) - (1 - y) log (sigmoid(z_B - z_A) c_B)

to the rows' own losses, and a choice adds log P(choice | r_A = 1) / P(choice | r_A = 0) to the evidence on A,
B's label summed out; gold of the pair or of B stays out of it. Exact where a response is in one pair; one in
several is met anew by each (a composite likelihood, Lindsay 1988). Whether somebody chooses may depend on the
texts, not on the labels.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

if TYPE_CHECKING:
    from unskew.data import Choices


@dataclass(frozen=True)
class Compared:
    """P pairs of the rows of a record, A in the slot before B.

    Args:
        a, b: rows. Shape [P].
        side: 1 where A was chosen, -1 where B was, 0 where nothing says which. Shape [P].
        ordered: which of them is A is known. Shape [P], bool.
        gold: share of labellers to whom A is better, NaN where there is none. Shape [P].
    """

    a: Tensor
    b: Tensor
    side: Tensor
    ordered: Tensor
    gold: Tensor

    @classmethod
    def of(cls, choices: "Choices | None") -> "Compared":
        """The pairs with a choice or a gold label; no pairs at all of None."""
        if choices is None:
            none = torch.zeros(0, dtype=torch.float64)
            return cls(none.long(), none.long(), none, none.bool(), none)
        speak = choices.seen | choices.labelled
        label = torch.from_numpy(choices.label[speak])
        return cls(
            torch.from_numpy(choices.a[speak]).long(),
            torch.from_numpy(choices.b[speak]).long(),
            torch.nan_to_num(2 * label - 1),
            torch.from_numpy(choices.ordered[speak]),
            torch.from_numpy(choices.gold[speak]),
        )

    def at(self, rows: Tensor, n: int) -> "Compared":
        """Those of which both are among the given of n rows, numbered as these are."""
        number = torch.full((n,), -1)
        number[rows] = torch.arange(len(rows))
        a, b = number[self.a], number[self.b]
        keep = (a >= 0) & (b >= 0)
        return Compared(a[keep], b[keep], self.side[keep], self.ordered[keep], self.gold[keep])

    def chosen(self) -> "Compared":
        """Those with a choice, without gold."""
        keep = self.side != 0
        none = torch.full_like(self.gold[keep], torch.nan)
        return Compared(self.a[keep], self.b[keep], self.side[keep], self.ordered[keep], none)


def errors(slots: Tensor) -> Tensor:
    """Log-odds of fnr and fpr of choices. Shape [2].

    Args:
        slots: mean log-odds with which A is chosen and, unconstrained, what it adds that A is better.
            Shape [2].
    """
    tilt = softplus(slots[1]) / 2
    return torch.stack([-slots[0] - tilt, slots[0] - tilt])


def given_better(pairs: Compared, slots: Tensor) -> tuple[Tensor, Tensor]:
    """(P(choice | A is better), P(choice | B is better)), 1 without a choice. Shape [P] each."""
    fnr, fpr = torch.sigmoid(errors(slots))
    either = (fnr + fpr) / 2
    miss, false = torch.where(pairs.ordered, fnr, either), torch.where(pairs.ordered, fpr, either)
    none = pairs.side == 0
    return (
        torch.where(none, 1.0, torch.where(pairs.side > 0, 1 - miss, miss)),
        torch.where(none, 1.0, torch.where(pairs.side > 0, false, 1 - false)),
    )


def better(pairs: Compared, z: Tensor, pi: Tensor) -> Tensor:
    """P(A is better), the labels summed out. Shape [P].

    Args:
        pairs: the pairs.
        z: log-odds of liking from the features. Shape [N].
        pi: P(liked | features, own record). Shape [N].
    """
    a, b = pi[pairs.a], pi[pairs.b]
    return a * (1 - b) + (a * b + (1 - a) * (1 - b)) * torch.sigmoid(z[pairs.a] - z[pairs.b])


def chances(pairs: Compared, z: Tensor, pi: Tensor, slots: Tensor) -> Tensor:
    """P(A is chosen | what else was recorded) of pairs with a choice. Shape [P].

    Args:
        pairs: the pairs.
        z: log-odds of liking from the features. Shape [N].
        pi: P(liked | features, own record). Shape [N].
        slots: see `errors`.
    """
    p = better(pairs, z, pi)
    if_a, if_b = given_better(replace(pairs, side=torch.ones_like(pairs.side)), slots)
    return p * if_a + (1 - p) * if_b


def losses(pairs: Compared, z: Tensor, pi: Tensor, slots: Tensor) -> Tensor:
    """Loss of each pair; see the module. Shape [P].

    Args:
        pairs: the pairs.
        z: log-odds of liking from the features. Shape [N].
        pi: P(liked | features, own record); gold labels as they are. Shape [N].
        slots: see `errors`.
    """
    if_a, if_b = given_better(pairs, slots)
    p, gap = better(pairs, z, pi), z[pairs.a] - z[pairs.b]
    hidden = -(p * if_a + (1 - p) * if_b).log()
    y = torch.nan_to_num(pairs.gold)
    known = -y * (logsigmoid(gap) + if_a.log()) - (1 - y) * (logsigmoid(-gap) + if_b.log())
    return torch.where(torch.isnan(pairs.gold), hidden, known)


def messages(pairs: Compared, z: Tensor, pi: Tensor, slots: Tensor) -> Tensor:
    """log P(choices | liked) / P(choices | not) of every row. Shape [N].

    Args:
        pairs: the pairs; their gold is not read.
        z: log-odds of liking from the features. Shape [N].
        pi: P(liked | features, own record), gold apart. Shape [N].
        slots: see `errors`.
    """
    pairs = pairs.chosen()
    if_a, if_b = given_better(pairs, slots)
    found = torch.zeros_like(z)
    for own, other, mine, theirs in ((pairs.a, pairs.b, if_a, if_b), (pairs.b, pairs.a, if_b, if_a)):
        p, look = pi[other], torch.sigmoid(z[own] - z[other])
        draw = look * mine + (1 - look) * theirs
        liked, disliked = (1 - p) * mine + p * draw, p * theirs + (1 - p) * draw
        found = found.index_add(0, own, liked.log() - disliked.log())
    return found
