"""Spark as an engine, through `mapInArrow`."""

from dataclasses import dataclass

import pyarrow as pa

from unskew.scale.contract import DRIVER, LETTERS, Work

try:
    from pyspark.sql import DataFrame, SparkSession
except ImportError as error:
    raise ImportError("ingestion on Spark needs it and Java 17: pip install 'unskew[spark]'") from error

SCHEMA = "to int, by int, data binary"


@dataclass(frozen=True)
class Spark:
    """Stages as `mapInArrow` over letters partitioned by addressee; a task that dies is redone by Spark.

    Workers need `unskew` and the key (`UNSKEW_KEY` or a key file), and reach inputs and store under the same
    paths. Text never passes through Spark, whose strings may hold what is no UTF-8: workers read the files.
    """

    session: SparkSession
    """The session of the caller."""
    tasks: int | None = None
    """Tasks of a stage; `spark.sql.shuffle.partitions` when absent."""

    def start(self, letters: pa.Table) -> DataFrame:
        """The letters as a data frame."""
        return self.session.createDataFrame(letters)

    def step(self, letters: DataFrame, work: Work) -> tuple[DataFrame, pa.Table]:
        """The letters of a stage; they stay with the workers, those to the driver excepted."""
        theirs = letters.where(f"to <> {DRIVER}")
        dealt = theirs.repartition("to") if self.tasks is None else theirs.repartition(self.tasks, "to")
        answers = dealt.mapInArrow(work.batches, SCHEMA).persist()
        told = answers.where(f"to = {DRIVER}").toArrow()
        letters.unpersist()
        return answers, told.cast(LETTERS)
