"""Ingestion spread over the workers of an engine that exists, with the same store at the end.

    from unskew import scale
    from unskew.scale.ray import Ray        # pip install 'unskew[ray]'
    scale.ingest("logs/", "/shared/store", engine=Ray(), shards=64)

    from unskew.scale.spark import Spark    # pip install 'unskew[spark]'
    scale.ingest("logs/", "/shared/store", engine=Spark(session), shards=64)

Workers parse the text and write it into the store, which all of them reach under one path; between them
travel keys, times and marks alone, as letters (`contract`). No engine is imported before it is asked for;
without one everything runs in this process. `docs/scale.md` says what runs where and what it costs.
"""

from unskew.scale.contract import LETTERS, Engine, Local, Work, ingest

__all__ = ["LETTERS", "Engine", "Local", "Work", "ingest"]
