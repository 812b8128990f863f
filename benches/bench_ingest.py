"""Ingestion beside polars and DuckDB: the same log, the same job, the same run.

The job: parse a canonical log, drop repeats by event id, join feedback to responses within seven days, keep
the last thumb and any copy of each response, and write all columns with their text. Every tool runs in a
process of its own, in turns; the answers are compared before any time is printed. The peers get explicit
schemas, only the columns of the job, two threads, and write Parquet without compression (the faster setting);
unskew does its whole job: strict JSON, keyed hashes, quarantine, counters, digest, fsync and commit.

    python benches/bench_ingest.py [--gigabytes 1] [--rounds 3] [--log FILE] [--write benches/RESULTS.md]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

THREADS = "2"
WEEK = 7 * 24 * 3600
START = 1_767_225_600  # 2026-01-01
SURFACES, LANGS = ("chat", "search", "mail"), ("en", "fr", "ja")


BLOCK = 20_000
COMMON = "the of to and a in is it you that was for on are with as his they be at".split()  # noqa: SIM905
ODD = ['"quoted"', "line\nbreak", "tab\t", "naïve", "日本語", "back\\slash"]
IMPRESSION = (
    '{"type":"impression","id":"r%d","request":"q%d","user":"u%d","session":"s%d","shown_at":"%s",'
    '"model":"model-%d","surface":"%s","lang":"%s","slot":0,"n_slots":1,"offered":["thumbs","copy"],'
    '"policy_prob":0.25,"prompt":"%s","response":"%s","meta":{"trace":"%x","tokens":%d}}\n'
)
THUMB = '{"type":"feedback","id":"%s%d","response":"%s%d","kind":"thumbs","value":%s,"at":"%s"}\n'
COPY = '{"type":"feedback","id":"c%d","response":"r%d","kind":"copy","at":"%s"}\n'


def generate(path: Path, gigabytes: float, seed: int = 0) -> None:
    """A log of about `gigabytes`: responses of about 1.2 KB, feedback out of order, repeats, orphans."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = np.array([*COMMON, *(f"word{i}" for i in range(3000)), *ODD])
    rank = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(words, size=(4000, 24), p=rank / rank.sum())
    phrases = [json.dumps(" ".join(row), ensure_ascii=False)[1:-1] for row in drawn]
    later: list[str] = []
    written = first = 0
    with path.open("w", encoding="utf-8") as out:
        while written < gigabytes * 1e9:
            lines, later = later, []
            number = first + np.arange(BLOCK)
            length = np.clip(rng.lognormal(1.9, 0.6, BLOCK), 1, 60).astype(int)
            pick = rng.integers(0, len(phrases), (BLOCK, 64))
            user, model = rng.zipf(1.4, BLOCK) % 50_000, rng.integers(0, 4, BLOCK)
            surface, lang = rng.integers(0, 3, BLOCK), rng.integers(0, 3, BLOCK)
            shown = START + number * 6 + rng.integers(0, 300, BLOCK)
            odd, thumb, copied = rng.random(BLOCK), rng.random(BLOCK), rng.random(BLOCK)
            wait = 1 + rng.exponential(40_000, (BLOCK, 3)).astype(int)
            wait[odd > 0.98, 0] *= 20  # some too late
            for i, n in enumerate(number.tolist()):
                about = (
                    n,
                    n,
                    user[i],
                    n // 7,
                    stamp(shown[i]),
                    model[i],
                    SURFACES[surface[i]],
                    LANGS[lang[i]],
                )
                text = ". ".join([phrases[k] for k in pick[i, : length[i]]])
                line = IMPRESSION % (*about, phrases[pick[i, 63]], text, i, length[i] * 30)
                lines.append(line)
                if odd[i] < 0.02:  # delivered twice
                    later.append(line)
                if thumb[i] < 0.3:
                    whose = "gone" if odd[i] > 0.995 else "r"
                    up = "true" if thumb[i] < 0.2 else "false"
                    later.append(THUMB % ("f", n, whose, n, up, stamp(shown[i] + wait[i, 0])))
                    if odd[i] < 0.05:
                        later.append(later[-1])
                if thumb[i] < 0.02:  # a second thought
                    later.append(THUMB % ("g", n, "r", n, "false", stamp(shown[i] + wait[i, 1])))
                if copied[i] < 0.25:
                    lines.append(COPY % (n, n, stamp(shown[i] + wait[i, 2])))
            rng.shuffle(lines)
            written += sum(map(out.write, lines))
            first += BLOCK
        out.writelines(later)


def stamp(seconds: int) -> str:
    """RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def run_unskew(log: str, out: str) -> dict[str, int]:
    """Our own."""
    from unskew import _rust

    report = json.loads(_rust.ingest([log], f"{out}/store", threads=int(THREADS)))
    return {"generation": report["generation"]}


def answer_unskew(out: str) -> dict[str, int]:
    """Read from the store."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from unskew import _rust

    parts = json.loads(_rust.open_store(f"{out}/store"))["parts"]

    def column(table: str, name: str) -> pa.ChunkedArray:
        chunks = []
        for part in parts[table]:
            with pa.memory_map(f"{out}/store/{part['path']}") as source:
                chunks += pa.ipc.open_stream(source).read_all()[name].chunks
        return pa.chunked_array(chunks)

    live, seen, liked = (column("observations", name) for name in ("live", "o_kinds", "pos_kinds"))

    def has(mask: pa.ChunkedArray, bit: int) -> int:
        found = pc.not_equal(pc.bit_wise_and(mask, pa.scalar(bit, pa.uint32())), 0)
        return pc.sum(pc.and_(live, found)).as_py()

    size = pc.sum(pc.filter(pc.binary_length(column("impressions", "response")), live)).as_py()
    return {
        "responses": pc.sum(live).as_py(),
        "rated": has(seen, 1),
        "liked": has(liked, 1),
        "copied": has(liked, 8),
        "text": size,
    }


SCHEMA = {
    "type": "VARCHAR", "id": "VARCHAR", "request": "VARCHAR", "user": "VARCHAR", "session": "VARCHAR",
    "shown_at": "VARCHAR", "model": "VARCHAR", "surface": "VARCHAR", "lang": "VARCHAR", "slot": "INTEGER",
    "n_slots": "INTEGER", "policy_prob": "DOUBLE", "prompt": "VARCHAR", "response": "VARCHAR",
    "kind": "VARCHAR", "value": "BOOLEAN", "at": "VARCHAR",
}  # fmt: skip
KEPT = [name for name in SCHEMA if name not in ("type", "kind", "value", "at", "shown_at")]


def run_duckdb(log: str, out: str) -> dict[str, int]:
    """DuckDB, one pass over the file into a table, then the join."""
    import duckdb

    db = duckdb.connect()
    db.execute(f"set threads={THREADS}; set preserve_insertion_order=false; set timezone='UTC'")
    db.execute(
        f"create table log as select * from read_json('{log}', format='newline_delimited', columns={SCHEMA})"
    )
    db.execute("""
        create table seen as
        select response, bool_or(kind = 'copy') as copied,
               arg_max(value, happened) filter (kind = 'thumbs') as liked
        from (select distinct on (f.id) f.id, f.response, f.kind, f.value, f."at"::timestamptz as happened,
                     date_diff('second', i.shown_at::timestamptz, f."at"::timestamptz) as delay
              from log f join log i on f.response = i.id
              where f.type = 'feedback' and i.type = 'impression')
        where delay between 0 and 604800 group by response""")
    db.execute(f"""
        copy (select i.*, s.liked is not null as rated, s.liked, coalesce(s.copied, false) as copied
              from (select distinct on (id) {", ".join(KEPT)}, shown_at::timestamptz as shown_at
                    from log where type = 'impression') i left join seen s on s.response = i.id)
        to '{out}/out.parquet' (format parquet, compression uncompressed)""")
    return {}


def run_polars(log: str, out: str) -> dict[str, int]:
    """polars, lazily, streaming where it can."""
    import polars as pl

    names = {"VARCHAR": pl.String, "INTEGER": pl.Int32, "DOUBLE": pl.Float64, "BOOLEAN": pl.Boolean}
    lines = pl.read_ndjson(log, schema={name: names[kind] for name, kind in SCHEMA.items()}).lazy()

    def when(name: str) -> pl.Expr:
        return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")

    shown = (
        lines.filter(pl.col("type") == "impression").select(*KEPT, when("shown_at")).unique("id", keep="any")
    )
    events = (
        lines.filter(pl.col("type") == "feedback")
        .select("id", "response", "kind", "value", when("at"))
        .unique("id", keep="any")
    )
    delay = pl.col("at") - pl.col("shown_at")
    seen = (
        events.join(shown.select(pl.col("id").alias("response"), "shown_at"), on="response")
        .filter((delay >= pl.duration(seconds=0)) & (delay <= pl.duration(seconds=WEEK)))
        .group_by("response")
        .agg(
            pl.col("value")
            .filter(pl.col("kind") == "thumbs")
            .sort_by(pl.col("at").filter(pl.col("kind") == "thumbs"))
            .last()
            .alias("liked"),
            (pl.col("kind") == "copy").any().alias("copied"),
        )
    )
    labelled = shown.join(seen, left_on="id", right_on="response", how="left").with_columns(
        pl.col("liked").is_not_null().alias("rated"), pl.col("copied").fill_null(False)
    )
    labelled.sink_parquet(f"{out}/out.parquet", compression="uncompressed")
    return {}


def answer_parquet(out: str) -> dict[str, int]:
    """Read from the peers' file."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(f"{out}/out.parquet", columns=["rated", "liked", "copied", "response"])
    return {
        "responses": table.num_rows,
        "rated": pc.sum(table["rated"]).as_py(),
        "liked": pc.sum(table["liked"]).as_py(),
        "copied": pc.sum(table["copied"]).as_py(),
        "text": pc.sum(pc.binary_length(table["response"])).as_py(),
    }


TOOLS: dict[str, tuple[Callable[[str, str], dict[str, int]], Callable[[str], dict[str, int]]]] = {
    "unskew": (run_unskew, answer_unskew),
    "polars": (run_polars, answer_parquet),
    "duckdb": (run_duckdb, answer_parquet),
}


def measure(tool: str, log: Path, out: Path) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one run in a process of its own."""
    out.mkdir()
    environment = {**os.environ, "POLARS_MAX_THREADS": THREADS, "UNSKEW_KEY": "a key for this bench only"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "--tool", tool, "--log", str(log), "--out", str(out)], env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)  # its ru_maxrss would begin with our own
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{tool} failed with status {status}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": float((out / "peak").read_text())}


def main() -> None:
    """Generate, compare the answers, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--tool", choices=TOOLS)
    parser.add_argument("--out")
    parser.add_argument("--write", type=Path, help="replace the section '## Ingestion' of this file")
    arguments = parser.parse_args()
    if arguments.tool:
        TOOLS[arguments.tool][0](str(arguments.log), arguments.out)
        high = next(
            line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
        )
        (Path(arguments.out) / "peak").write_text(str(int(high.split()[1]) / 1024))
        return
    with tempfile.TemporaryDirectory() as scratch:
        log = arguments.log or Path(scratch) / "log.jsonl"
        if not log.exists():
            generate(log, arguments.gigabytes)
        size = log.stat().st_size / 1e9
        rounds: dict[str, list[dict[str, float]]] = {tool: [] for tool in TOOLS}
        answers = {}
        for number in range(arguments.rounds):
            for tool in TOOLS:
                out = Path(scratch) / f"{tool}-{number}"
                rounds[tool].append(measure(tool, log, out))
                if number == 0:
                    answers[tool] = TOOLS[tool][1](str(out))
                subprocess.run(["rm", "-rf", str(out)], check=True)
        if len({json.dumps(answer) for answer in answers.values()}) != 1:
            raise SystemExit(f"the tools disagree: {answers}")
    text = table(size, answers["unskew"], rounds)
    print(text)
    if arguments.write:
        write(arguments.write, text)


def table(size: float, answer: dict[str, int], rounds: dict[str, list[dict[str, float]]]) -> str:
    """The result as Markdown: medians over the rounds."""
    import duckdb
    import polars

    mid = {tool: {key: median(run[key] for run in runs) for key in runs[0]} for tool, runs in rounds.items()}
    ours = mid["unskew"]
    told = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(
        (line.split(":")[1].strip() for line in told if "model name" in line), platform.machine()
    )
    lines = [
        "## Ingestion",
        "",
        f"`python benches/bench_ingest.py`: {size:.2f} GB of canonical JSON lines,",
        f"{answer['responses']:,} responses, {answer['rated']:,} rated, {answer['copied']:,} copied;",
        "the three answers are equal.",
        f"Median of {len(rounds['unskew'])} interleaved rounds on {os.cpu_count()} cores, {processor};",
        f"Python {platform.python_version()}, polars {polars.__version__}, duckdb {duckdb.__version__},",
        "two threads each.",
        "",
        "| tool | wall s | CPU s | peak MB | our wall / its | our CPU / its | our peak / its |",
        "|---|---|---|---|---|---|---|",
    ]
    for tool, its in mid.items():
        ratios = " | ".join(f"{ours[key] / its[key]:.2f}" for key in ("wall", "cpu", "peak"))
        lines.append(f"| {tool} | {its['wall']:.2f} | {its['cpu']:.2f} | {its['peak']:.0f} | {ratios} |")
    return "\n".join([*lines, ""])


def write(path: Path, text: str) -> None:
    """Put the section into the results file, in place of the old one."""
    sections = path.read_text().split("\n## ") if path.exists() else ["# Results\n"]
    kept = [section for section in sections if not section.startswith("Ingestion")]
    path.write_text("\n## ".join([*kept, text.removeprefix("## ")]).rstrip() + "\n")


if __name__ == "__main__":
    main()
