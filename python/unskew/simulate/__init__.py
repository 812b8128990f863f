"""A simulated product log with known truth: text, models, surfaces, feedback that is selected and noisy.

    from unskew import simulate

    simulate.simulate("log", 16_000, simulate.WORLDS["label"], seed=1)   # files, as a product would log them
    truth = simulate.oracle("log")                                       # what no product knows
    drawn = simulate.draw(simulate.WORLDS["features"], 16_000, seed=1)   # the same as columns in memory

`text` says what is asked and answered and how good it is, `world` who gives feedback and with what errors,
`sample` draws, `bots` floods, `gold` chooses what to label, `files` writes, `truth` keeps the oracle.
"""

from unskew.simulate.bots import flood
from unskew.simulate.files import Simulation, simulate
from unskew.simulate.gold import Gold, choose
from unskew.simulate.sample import Draw, draw
from unskew.simulate.text import quality
from unskew.simulate.truth import oracle, oracle_world
from unskew.simulate.world import KINDS, WORLDS, OneSided, TwoSided, World, named

__all__ = [
    "KINDS",
    "WORLDS",
    "Draw",
    "Gold",
    "OneSided",
    "Simulation",
    "TwoSided",
    "World",
    "choose",
    "draw",
    "flood",
    "named",
    "oracle",
    "oracle_world",
    "quality",
    "simulate",
]
