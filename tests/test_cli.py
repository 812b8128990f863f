"""The command line as a black box: exit codes, sentences, and what lies on disk afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def unskew(*arguments: object, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unskew.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, input=stdin, timeout=300)


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Path:
    """A simulated log ingested into a store, with gold kept by an audit."""
    home = tmp_path_factory.mktemp("road")
    (home / "key").write_text("a key that only this test knows\n")
    assert unskew("simulate", "--out", "log", "--responses", 2000, "--dirty", 20, cwd=home).returncode == 0
    done = unskew("ingest", "log/events", "--store", "store", "--key", "key", cwd=home)
    assert done.returncode == 0, done.stderr
    done = unskew("audit", "store", "--gold", "log/gold.jsonl", "--json", cwd=home)
    assert done.returncode in (0, 8), done.stderr
    (home / "audit.json").write_text(done.stdout)
    return home


def test_ingest_balances_its_books_and_reports_the_dirty_lines(road):
    done = unskew("ingest", "log/events", "--store", "other", "--key", "key", "--json", cwd=road)
    books = json.loads(done.stdout)["balance"]
    parts = books["committed"] + books["duplicate"] + books["quarantined"] + books["blank"]
    assert books["lines"] == parts
    assert books["quarantined"] > 0


def test_the_first_refused_line_of_each_reason_is_shown(road):
    done = unskew("ingest", "log/events", "--store", "shown", "--key", "key", cwd=road)
    told = unskew("ingest", "log/events", "--store", "told", "--key", "key", "--json", cwd=road)
    report = json.loads(told.stdout)
    first = {}
    for bad in report["samples"]:
        first.setdefault(bad["reason"], bad)
    assert set(first) == set(report["quarantine"])
    for bad in first.values():
        assert f"{bad['file']} line {bad['line']}: {bad['reason']}" in done.stdout
    assert "--source" not in done.stdout


def test_a_log_of_another_product_is_refused_with_the_way_to_read_it(road):
    (road / "other.jsonl").write_text('{"trace_id": "t", "score": 1}\n')
    done = unskew("ingest", "other.jsonl", "--store", "foreign", "--key", "key", cwd=road)
    assert done.returncode == 0
    assert "other.jsonl line 1: missing type" in done.stdout
    assert "Every line was refused. A log of another product is read with --source" in done.stdout


def test_erasing_somebody_unknown_says_so(road):
    done = unskew("erase", "nobody", "--store", "store", "--key", "key", cwd=road)
    assert done.returncode == 0
    assert "holds nothing of this person" in done.stdout


def test_two_stores_of_one_log_have_one_digest(road):
    unskew("ingest", "log/events", "--store", "again", "--key", "key", cwd=road)
    digests = [
        json.loads(unskew("verify", s, "--key", "key", "--json", cwd=road).stdout)["digest"]
        for s in ("store", "again")
    ]
    assert digests[0] == digests[1]


def test_a_flipped_byte_is_exit_6_and_names_the_file(road):
    unskew("ingest", "log/events", "--store", "broken", "--key", "key", cwd=road)
    part = sorted((road / "broken" / "impressions").iterdir())[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    done = unskew("verify", "broken", "--key", "key", cwd=road)
    assert done.returncode == 6
    assert part.name in done.stderr


def test_the_bad_line_budget_is_exit_3_and_commits_nothing(road):
    done = unskew("ingest", "log/events", "--store", "strict", "--key", "key", "--max-bad", 0, cwd=road)
    assert done.returncode == 3
    assert "--max-bad" in done.stderr
    assert unskew("verify", "strict", "--key", "key", cwd=road).returncode != 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["verify", "nowhere"], 4, "nowhere"),
        (["ingest", "missing.jsonl", "--store", "s"], 4, "missing.jsonl"),
        (["train", "store", "--estimator", "magic"], 2, "magic"),
        (["export", "store", "--out", "x", "--format", "xml"], 2, "xml"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_wrong_use_is_a_sentence_and_never_a_traceback(road, arguments, code, says):
    done = unskew(*arguments, cwd=road)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_square_brackets_of_a_sentence_reach_the_terminal():
    from rich.text import Text

    from unskew.terminal import verdict_text

    gate = {"colour": "red", "sentence": "give noise: {thumbs: [fnr, fpr]}"}
    verdict = {"colour": "red", "sentences": ["see [a, b]"], "gates": [gate], "allowed": []}
    shown = Text.from_markup(verdict_text(verdict)).plain
    assert "see [a, b]\nred give noise: {thumbs: [fnr, fpr]}" in shown


def test_run_that_measured_nothing_is_a_table_of_dashes():
    from unskew.terminal import arms_table

    table = arms_table({"title": "t", "arms": [{"label": "ours", "role": "ours"}]})
    assert [list(column.cells) for column in table.columns] == [["ours"], *[["–"]] * 5]


def test_audit_prints_its_verdict_as_data(road):
    verdict = json.loads((road / "audit.json").read_text())
    assert verdict["colour"] in ("green", "amber", "red")
    assert verdict["sentences"]
    assert all(gate["sentence"] for gate in verdict["gates"])


def test_gold_plan_is_a_template_that_audit_accepts_once_filled(road):
    done = unskew("audit", "store", "--gold-plan", 60, "--plan-out", "plan.jsonl", "--json", cwd=road)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (road / "plan.jsonl").read_text().splitlines()]
    assert len(rows) == 60
    assert all(row["label"] is None and row["response"] for row in rows)
    filled = "\n".join(json.dumps({**row, "label": number % 2}) for number, row in enumerate(rows))
    (road / "filled.jsonl").write_text(filled)
    unskew("ingest", "log/events", "--store", "planned", "--key", "key", cwd=road)
    done = unskew("audit", "planned", "--gold", "filled.jsonl", "--json", cwd=road)
    assert done.returncode in (0, 8), done.stderr


def test_train_score_evaluate_and_report_work_on_one_run(road):
    done = unskew("train", "store", "--out", "run", "--accept-red", "small test log", "--json", cwd=road)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert {arm["role"] for arm in run["arms"]} >= {"naive", "ours"}
    assert (road / "run" / "report.html").stat().st_size > 10_000

    rows = [
        {"prompt": "How do I bake bread?", "response": "Mix, wait, bake."},
        {"prompt": "a", "completion": "b"},
    ]
    (road / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = unskew("score", "run/model", "rows.jsonl", cwd=road)
    assert done.returncode == 0, done.stderr
    scored = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["prompt"] for row in scored] == [row["prompt"] for row in rows]
    assert all(0 < row["probability"] < 1 for row in scored)

    done = unskew("evaluate", "run/model", "--store", "store", "--json", cwd=road)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arms"]
    (road / "run" / "report.html").unlink()
    assert unskew("report", "run", cwd=road).returncode == 0
    assert (road / "run" / "report.html").exists()


def test_export_gives_every_row_back_and_pairs_with_their_columns(road):
    done = unskew("export", "store", "--out", "rows.out.jsonl", "--json", cwd=road)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (road / "rows.out.jsonl").read_text().splitlines()]
    assert len({row["response_id"] for row in rows}) == 2000
    trl = ["export", "store", "--out", "pairs.jsonl", "--format", "trl"]
    done = unskew(*trl, cwd=road)
    assert done.returncode == 8  # people answer because they like: doubly robust targets are refused
    assert "--accept-red" in done.stderr
    assert not (road / "pairs.jsonl").exists()
    assert unskew(*trl, "--accept-red", "a test of the format", cwd=road).returncode == 0
    pairs = [json.loads(line) for line in (road / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) > 500
    assert {"prompt", "chosen", "rejected", "label_prob", "weight"} <= set(pairs[0])
    assert all(pair["label_prob"] >= 0.5 for pair in pairs)


def test_refutations_are_a_table_and_a_sentence_each(road):
    done = unskew("audit", "store", "--refute", cwd=road)
    assert done.returncode in (0, 8), done.stderr
    assert "attempts to refute this, on" in done.stdout
    assert "permuted labels" in done.stdout
    done = unskew("audit", "store", "--negative-control", "share", cwd=road)
    assert done.returncode == 2
    assert "negative control is 'share'" in done.stderr
