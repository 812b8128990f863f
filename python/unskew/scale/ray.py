"""Ray Data as an engine."""

from dataclasses import dataclass

import pyarrow as pa

from unskew.scale.contract import LETTERS, Work, split

try:
    import ray.data
    from ray.data.context import ShuffleStrategy
except ImportError as error:
    raise ImportError("ingestion on Ray needs it: pip install 'unskew[ray]'") from error

SORTED = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
"""Letters are few: sorting them is done at once, while the other ways start actors for each stage."""


@dataclass(frozen=True)
class Ray:
    """Stages as `map_groups` of a Ray dataset of letters; the work of a worker that dies is redone by Ray.

    Workers need `unskew` and the key (`UNSKEW_KEY` or a key file), and reach inputs and store under the same
    paths; `ray.init` is the caller's.
    """

    groups: int | None = None
    """Tasks into which the addressees of a stage are dealt; left to Ray when absent."""

    def start(self, letters: pa.Table) -> "ray.data.Dataset":
        """The letters as a dataset."""
        return ray.data.from_arrow(letters)

    def step(self, letters: "ray.data.Dataset", work: Work) -> tuple["ray.data.Dataset", pa.Table]:
        """The letters of a stage; they stay with the workers, those to the driver excepted."""

        def answer(letters: pa.Table) -> pa.Table:
            return work(letters)

        letters.context.shuffle_strategy = SORTED
        groups = letters.groupby("to", num_partitions=self.groups)
        answers = groups.map_groups(answer, batch_format="pyarrow").materialize()
        told = answers.map_batches(to_driver, batch_format="pyarrow", batch_size=None)
        batches = told.iter_batches(batch_format="pyarrow", batch_size=None)
        tables = [table.select(LETTERS.names).cast(LETTERS) for table in batches if len(table)]
        others = answers.map_batches(to_others, batch_format="pyarrow", batch_size=None)
        return others, pa.concat_tables(tables)


def to_driver(letters: pa.Table) -> pa.Table:
    """The letters to the driver."""
    return split(letters)[1]


def to_others(letters: pa.Table) -> pa.Table:
    """The letters to the next stage."""
    return split(letters)[0]
