"""Bots: a few users who flood a log, answering everything with the opposite of the truth."""

from dataclasses import fields, replace

import numpy as np

from unskew.simulate.sample import Draw, draw
from unskew.simulate.world import KINDS


def flood(drawn: Draw, bots: int = 3, share: float = 0.3, seed: int = 0) -> Draw:
    """The same draw with bots behind it, who make `share` of all feedback events.

    A bot causes responses of its own, as any user does, and uses every kind that is offered on them: thumbs
    and ratings say the opposite of the truth, it copies what is disliked and regenerates what is liked. What
    the others wrote stays as it is, and so does what the draw says of their chances (`p1`, `fnr`, ...): of a
    bot's responses it says what an honest user would have done.

    Args:
        drawn: the log of honest users.
        bots: how many, at least 1.
        share: of the feedback events that are theirs, in (0, 1).
        seed: seed of what they ask and are answered.

    Raises:
        ValueError: there is no bot, or the share is not in (0, 1).
    """
    if bots < 1 or not 0 < share < 1:
        raise ValueError(
            f"bots is {bots} and share {share}; at least one bot and a share in (0, 1) are needed"
        )
    events = int(drawn.observed.sum())
    wanted = share / (1 - share) * events
    more = _answers(draw(drawn.world, max(int(wanted), 8), seed=drawn.seed + 1_000_003 * (seed + 1)))
    made = np.cumsum(more.observed.sum(1))
    n = int(np.searchsorted(made, wanted)) + 1
    rng = np.random.default_rng([drawn.seed, 23, seed])
    user = int(drawn.user.max()) + 1 + rng.integers(0, bots, int(more.request.max()) + 1)
    more = replace(
        more,
        request=more.request + int(drawn.request.max()) + 1,
        session=more.session + int(drawn.session.max()) + 1,
        user=user[more.request],
        response_id=[f"r{len(drawn) + number:08d}" for number in range(len(more))],
    )
    joined = {}
    for column in fields(Draw):
        first, second = getattr(drawn, column.name), getattr(more, column.name)
        if isinstance(first, list):
            joined[column.name] = first + second[:n]
        elif isinstance(first, np.ndarray):
            joined[column.name] = np.concatenate([first, second[:n]])
    return replace(drawn, **joined)


def _answers(drawn: Draw) -> Draw:
    """The same responses with feedback of every kind offered, all of it wrong."""
    disliked = drawn.label == 0
    wrong = {"thumbs": True, "rating": True, "copy": disliked, "regenerate": ~disliked}
    observed = drawn.offered & np.column_stack([np.broadcast_to(wrong[name], len(drawn)) for name in KINDS])
    positive = observed.copy()
    for name in ("thumbs", "rating"):
        positive[:, KINDS.index(name)] &= disliked
    rating = KINDS.index("rating")
    stars = np.where(observed[:, rating], np.where(positive[:, rating], 5, 1), 0)
    late = np.maximum(drawn.delay, 60_000_000)
    return replace(
        drawn, observed=observed, positive=positive, stars=stars, delay=np.where(observed, late, 0)
    )
