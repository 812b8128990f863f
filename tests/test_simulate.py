"""The simulated product: what it writes is what it says, and its truth is the truth of its texts."""

import gzip
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from unskew import simulate
from unskew.simulate import KINDS, WORLDS, World, dirt, draw

SMALL = 3000
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """(directory, summary) of a log with every kind of trouble."""
    home = tmp_path_factory.mktemp("log")
    world = World(late=0.2, disordered=0.2, repeated=0.1, revised=0.2)
    return home, simulate.simulate(home, SMALL, world, seed=3, dirty=50, shards=3)


def lines(home):
    return [line for part in sorted((home / "events").iterdir()) for line in part.read_bytes().splitlines()]


def good(home):
    """Parsed lines, broken ones left out, in file order."""
    events = []
    for line in lines(home):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and re.fullmatch(r"[rf]\d+", str(event.get("id"))):
            events.append(event)
    return events


def contents(home):
    return {path.relative_to(home): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_same_arguments_write_the_same_bytes(tmp_path):
    for name in "ab":
        simulate.simulate(tmp_path / name, 500, seed=5, gold=(40, 20), dirty=7, shards=2, compress="gz")
    simulate.simulate(tmp_path / "c", 500, seed=6, gold=(40, 20), dirty=7, shards=2, compress="gz")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_compression_and_shards_change_the_files_but_not_the_events(tmp_path):
    plain = simulate.simulate(tmp_path / "plain", 500, seed=5, gold=(40, 20))
    simulate.simulate(tmp_path / "gz", 500, seed=5, gold=(40, 20), compress="gz", shards=3)
    simulate.simulate(tmp_path / "zst", 500, seed=5, gold=(40, 20), compress="zst")
    expected = Path(plain.events[0]).read_bytes()
    packed = sorted((tmp_path / "gz" / "events").iterdir())
    assert len(packed) == 3
    assert b"".join(gzip.decompress(part.read_bytes()) for part in packed) == expected
    [part] = (tmp_path / "zst" / "events").iterdir()
    with pa.input_stream(str(part), compression="zstd") as source:
        assert source.read() == expected


def test_worlds_share_their_texts_and_true_labels():
    first, second = draw(WORLDS["label"], 400, seed=2), draw(WORLDS["features"], 400, seed=2)
    assert first.prompt == second.prompt
    assert first.response == second.response
    assert np.array_equal(first.label, second.label)
    assert not np.array_equal(first.observed, second.observed)


def test_quality_is_a_function_of_the_text_alone():
    drawn = draw(n=2000, seed=4)
    from_text = [simulate.quality(p, r) for p, r in zip(drawn.prompt, drawn.response, strict=True)]
    assert np.allclose(from_text, drawn.quality, atol=1e-9)


def test_quality_is_not_length_or_flattery_or_tone():
    drawn = draw(n=16_000, seed=4)
    length = np.log([len(text) for text in drawn.response])
    flattering = draw(WORLDS["flattery"], 16_000, seed=4).spurious
    for other, bound in ((length, 0.15), (flattering, 0.04), (drawn.tone, 0.04)):
        assert abs(np.corrcoef(drawn.quality, other)[0, 1]) < bound


def test_labels_follow_the_quality_and_half_of_them_are_good():
    drawn = draw(n=16_000, seed=1)
    assert abs(drawn.label.mean() - 0.5) < 0.02
    assert abs(drawn.label.mean() - drawn.probability.mean()) < 4 * 0.5 / np.sqrt(16_000)
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        bin_ = (drawn.probability > low) & (drawn.probability <= high)
        expected = drawn.probability[bin_].mean()
        assert abs(drawn.label[bin_].mean() - expected) < 4 * 0.5 / np.sqrt(bin_.sum())


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_recorded_rates_are_the_planted_ones(name):
    drawn = draw(WORLDS[name], 16_000, seed=8)
    for column in range(len(KINDS)):
        for r, p in ((1, drawn.p1), (0, drawn.p0)):
            rows = drawn.offered[:, column] & (drawn.label == r)
            tolerance = 4.5 * np.sqrt((p[rows, column] * (1 - p[rows, column])).sum()) / rows.sum()
            assert abs(drawn.observed[rows, column].mean() - p[rows, column].mean()) < tolerance
            seen = rows & drawn.observed[:, column]
            if KINDS[column] in ("thumbs", "rating"):
                wrong = (drawn.positive[seen, column] != r).mean() if seen.any() else 0.0
                rate = (drawn.fnr if r else drawn.fpr)[seen, column]
                assert abs(wrong - rate.mean()) < 4.5 * np.sqrt((rate * (1 - rate)).sum()) / seen.sum()
            else:
                assert drawn.positive[seen, column].all()
    assert not (drawn.observed & ~drawn.offered).any()


def test_default_world_has_the_documented_rates():
    drawn = draw(n=64_000, seed=9)
    thumbs, rating, copy, regenerate = range(4)
    rate = [drawn.observed[drawn.offered[:, kind], kind].mean() for kind in range(4)]
    assert rate[thumbs] == pytest.approx(0.18, abs=0.008)
    assert rate[rating] == pytest.approx(0.25, abs=0.015)
    liked, disliked = drawn.label == 1, drawn.label == 0
    assert np.allclose(drawn.p1[drawn.offered[:, copy], copy], 0.15)
    assert np.allclose(drawn.p0[drawn.offered[:, copy], copy], 0.02)
    assert np.allclose(drawn.p1[drawn.offered[:, regenerate], regenerate], 0.04)
    assert np.allclose(drawn.p0[drawn.offered[:, regenerate], regenerate], 0.20)
    assert drawn.observed[liked, thumbs].mean() > 4 * drawn.observed[disliked, thumbs].mean()
    first, second = drawn.slot == 1, drawn.slot == 2
    assert drawn.p1[second, thumbs].mean() < drawn.p1[first, thumbs].mean()
    assert drawn.capped == 0


def test_selection_by_features_ignores_the_label_and_selection_by_label_does_not():
    by_features, by_label = draw(WORLDS["features"], 2000), draw(WORLDS["label"], 2000)
    assert np.allclose(by_features.p1[:, 0], by_features.p0[:, 0], rtol=1e-12)
    assert (by_label.p1[:, 0] > 2 * by_label.p0[:, 0]).all()
    rank = np.argsort(np.argsort(by_features.quality))
    assert np.corrcoef(rank, by_features.p1[:, 0])[0, 1] > 0.8


def test_u_shaped_selection_hears_both_extremes():
    drawn = draw(WORLDS["u"], 4000)
    best, worst = drawn.quality > 2, drawn.quality < -2
    middle = np.abs(drawn.quality) < 0.3
    seen = drawn.probability * drawn.p1[:, 0] + (1 - drawn.probability) * drawn.p0[:, 0]
    assert seen[best].mean() > 1.3 * seen[middle].mean()
    assert seen[worst].mean() > 1.3 * seen[middle].mean()


def test_nuisance_scales_the_odds_of_all_kinds():
    calm, moved = draw(WORLDS["random"], 4000), draw(WORLDS["nuisance"], 4000)

    def log_odds(p):
        return np.log(p / (1 - p))

    for kind in range(4):
        rows = moved.offered[:, kind]
        shift = log_odds(moved.p1[rows, kind]) - log_odds(calm.p1[rows, kind])
        slope = np.polyfit(moved.tone[rows], shift, 1)[0]
        assert slope == pytest.approx(0.8, abs=1e-6)


def test_kinds_are_independent_given_text_and_label():
    drawn = draw(WORLDS["label-nuisance"], 64_000, seed=12)
    surprise = (drawn.observed - drawn.propensity) / np.sqrt(
        drawn.propensity * (1 - drawn.propensity) + 1e-12
    )
    rows = drawn.offered.all(axis=1)
    correlation = np.corrcoef(surprise[rows].T)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(rows.sum())


@pytest.mark.parametrize("name", ["flattery", "length"])
def test_spurious_factor_is_rewarded_in_the_record_and_not_in_truth(name, tmp_path):
    plain, spurious = draw(WORLDS["features"], 16_000), draw(WORLDS[name], 16_000)
    assert abs(np.corrcoef(spurious.spurious, spurious.label)[0, 1]) < 0.04
    seen = spurious.observed[:, 0]
    assert np.array_equal(plain.observed[:, 0], seen)
    factor = spurious.spurious[seen]
    before = np.corrcoef(factor, plain.positive[seen, 0])[0, 1]
    after = np.corrcoef(factor, spurious.positive[seen, 0])[0, 1]
    assert after - before > 0.07
    summary = simulate.simulate(tmp_path, 16_000, WORLDS[name])
    assert summary.spurious_correlation == pytest.approx(after)


def test_every_good_line_has_the_required_fields(log):
    home, summary = log
    required = {
        "impression": {"id", "shown_at", "prompt", "response", "offered", "request", "slot", "policy_prob"},
        "feedback": {"id", "response", "kind", "at"},
    }
    events = good(home)
    assert len(events) == summary.lines - 50
    for event in events:
        assert required[event["type"]] <= event.keys()
        for key in ("shown_at", "at", "received_at"):
            if key in event:
                assert datetime.fromisoformat(event[key].replace("Z", "+00:00")).tzinfo is not None
        if event.get("kind") == "thumbs":
            assert event["value"] in ("up", "down")
        elif event.get("kind") == "rating":
            assert event["value"] in (1, 2, 3, 4, 5)
        elif event["type"] == "impression":
            assert 0 < event["policy_prob"] <= 1
            assert 1 <= event["slot"] <= event["n_slots"] <= 4


def test_summary_counts_the_lines_of_the_log(log):
    home, summary = log
    events = good(home)
    unique = {event["id"]: event for event in events}
    kinds = Counter(event.get("kind") for event in unique.values())
    assert summary.lines == len(lines(home))
    assert summary.responses == kinds.pop(None) == SMALL
    assert summary.feedback == dict(kinds)
    assert summary.repeated == len(events) - len(unique)
    late = Counter(event["type"] for event in unique.values() if "received_at" in event)
    assert (summary.late, summary.disordered) == (late["feedback"], late["impression"])
    times = sorted(event.get("at") or event["shown_at"] for event in unique.values())
    assert (summary.first, summary.last) == (times[0], times[-1])


def test_events_are_late_repeated_and_out_of_order_as_asked(log):
    home, summary = log
    events = good(home)
    assert summary.repeated / (len(events) - summary.repeated) == pytest.approx(0.1, abs=0.02)
    assert summary.disordered / SMALL == pytest.approx(0.2, abs=0.03)
    feedback = sum(summary.feedback.values())
    assert summary.late / (feedback - summary.revised) == pytest.approx(0.2, abs=0.05)
    seen, early = set(), 0
    for event in events:
        if event["type"] == "impression":
            seen.add(event["id"])
        else:
            early += event["response"] not in seen
    assert early > 0.05 * feedback
    repeats = Counter(json.dumps(event) for event in events)
    assert sum(count - 1 for count in repeats.values()) == summary.repeated


def test_last_thumb_is_the_one_that_counts(log):
    home, summary = log
    drawn = draw(World(late=0.2, disordered=0.2, repeated=0.1, revised=0.2), SMALL, seed=3)
    last = {}
    for event in sorted({json.dumps(e): e for e in good(home)}.values(), key=lambda e: e.get("at", "")):
        if event.get("kind") == "thumbs":
            last[event["response"]] = event["value"] == "up"
    expected = np.flatnonzero(drawn.observed[:, 0])
    assert last == {drawn.response_id[row]: bool(drawn.positive[row, 0]) for row in expected}
    assert summary.revised > 0
    assert summary.feedback["thumbs"] == len(expected) + summary.revised


def test_log_spans_a_month_and_most_attribution_windows_have_closed(log):
    _, summary = log
    first, last = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (summary.first, summary.last))
    assert (last - first).days >= 30
    drawn = draw(n=SMALL, seed=3)
    closed = drawn.shown_at < (last.timestamp() - 8 * 86_400 - first.timestamp()) * 1e6
    assert closed.mean() > 0.95
    assert drawn.delay.max() < 7 * 86_400e6


def test_broken_lines_are_of_every_sort_and_none_is_a_good_event(log):
    home, summary = log
    assert sum(summary.broken.values()) == 50
    assert set(summary.broken) == set(dirt.SORTS)
    bad = [line for _, line in dirt.broken(50, 3)]
    assert len(set(bad)) == 50
    assert not any(b"\n" in line for line in bad)
    found = Counter(lines(home))
    assert all(found[line] == 1 for line in bad)


def test_gold_is_a_random_part_and_a_stratified_part(log):
    home, summary = log
    rows = [json.loads(line) for line in (home / "gold.jsonl").read_text().splitlines()]
    parts = Counter(row["design"] for row in rows)
    assert parts == {"stratified": 400, "random": 200}
    assert (summary.gold_stratified, summary.gold_random) == (400, 200)
    assert len({row["response"] for row in rows}) == 600
    truth = simulate.oracle(home).to_pydict()
    label = dict(zip(truth["response_id"], truth["label"], strict=True))
    assert all(row["label"] == label[row["response"]] for row in rows)
    assert all(0 < row["prob"] <= 1 for row in rows)
    assert {row["prob"] for row in rows if row["design"] == "random"} == {200 / SMALL}


def test_inverse_design_weights_make_each_part_of_the_gold_represent_the_log():
    drawn = draw(n=4000, seed=2)
    means = {False: [], True: []}
    totals = []
    for seed in range(60):
        gold = simulate.choose(drawn, 400, 200, seed=seed)
        for part in (False, True):
            rows = gold.stratified == part
            weight = 1 / gold.prob[rows]
            means[part].append(np.average(drawn.label[gold.row[rows]], weights=weight))
            if part:
                totals.append(weight.sum())
    assert np.allclose(totals, 4000)
    for estimates in means.values():
        error = np.mean(estimates) - drawn.label.mean()
        assert abs(error) < 4 * np.std(estimates) / np.sqrt(60)


def test_stratified_gold_reaches_every_recorded_label():
    drawn = draw(n=16_000, seed=2)
    gold = simulate.choose(drawn, 400, 200)
    rows = gold.row[gold.stratified]
    for kind in (0, 1):
        for positive in (True, False):
            assert (drawn.observed[rows, kind] & (drawn.positive[rows, kind] == positive)).sum() >= 30


def test_oracle_gives_back_the_truth_and_the_world(log):
    home, _ = log
    world = World(late=0.2, disordered=0.2, repeated=0.1, revised=0.2)
    drawn = draw(world, SMALL, seed=3)
    truth = simulate.oracle(home)
    assert simulate.oracle_world(home) == world
    assert truth["response_id"].to_pylist() == drawn.response_id
    for name, expected in (
        ("quality", drawn.quality),
        ("probability", drawn.probability),
        ("label", drawn.label),
        ("p_thumbs", drawn.propensity[:, 0]),
        ("p1_copy", drawn.p1[:, 2]),
        ("p0_regenerate", drawn.p0[:, 3]),
        ("fnr_rating", drawn.fnr[:, 1]),
        ("fpr_thumbs", drawn.fpr[:, 0]),
    ):
        assert np.array_equal(truth[name].to_numpy(), expected), name


def test_oracle_files_are_named_nowhere_else():
    readers = [
        path.relative_to(ROOT).as_posix()
        for folder in ("python", "benches", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if "oracle_responses" in path.read_text()
    ]
    assert sorted(set(readers) - {"python/unskew/simulate/files.py"}) == ["python/unskew/simulate/truth.py"]


def test_log_itself_holds_no_truth(log):
    home, _ = log
    for event in good(home):
        assert not {"label", "quality", "probability", "propensity", "r"} & event.keys()


def test_oracle_of_a_directory_without_a_log_says_what_it_expected(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        simulate.oracle(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'oracle_responses.arrow'} does not exist; expected a directory written by simulate"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"selection": "luck"},
            "selection is 'luck'; it must be one of features, label, u, random",
        ),
        ({"alpha": 0.0}, "alpha is 0.0; it must be in [0.001, 1]"),
        ({"late": 1.5}, "late is 1.5; it is a share and must be in [0, 1]"),
        ({"days": 5}, "days is 5; at least 20 are needed for attribution windows to close"),
        ({"spurious": "emoji"}, "spurious is 'emoji'; it must be one of none, flattery, length"),
    ],
)
def test_impossible_worlds_are_refused(change, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        replace(World(), **change)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_responses": 0}, "n is 0; at least one response is needed"),
        ({"n_responses": 100}, "gold is (400, 200); two counts that sum to at most 100 are needed"),
        ({"shards": 0}, "shards is 0 and dirty is 0; expected shards >= 1 and dirty >= 0"),
        ({"compress": "7z"}, "compress is '7z'; it must be 'gz', 'zst' or None"),
    ],
)
def test_impossible_logs_are_refused_and_nothing_is_written(arguments, message, tmp_path):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        simulate.simulate(tmp_path / "log", **arguments)
    assert str(error.value) == message
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("selection", ["label", "features", "u"])
def test_any_rate_is_reached_by_any_strength(selection):
    thumbs = simulate.TwoSided(rate=0.9, fnr=0.1, fpr=0.2)
    drawn = draw(World(selection=selection, alpha=0.001, thumbs=thumbs), 16_000)
    assert drawn.observed[:, 0].mean() == pytest.approx(0.9, abs=0.02)
    assert drawn.p1.max() <= 1
    assert drawn.capped > 0


def test_tiny_logs_are_logs(tmp_path):
    for n in (1, 2, 7):
        summary = simulate.simulate(tmp_path / str(n), n, gold=(0, 1), shards=3)
        assert summary.responses == n
        assert simulate.oracle(tmp_path / str(n)).num_rows == n


def test_hidden_habits_of_users_make_kinds_dependent():
    drawn = draw(World(selection="random", activity=1.0), 64_000, seed=12)
    quiet = draw(World(selection="random"), 64_000, seed=12)
    rows = drawn.offered[:, 2] & drawn.offered[:, 3] & (drawn.label == 1)
    both = [(d.observed[rows, 0] & d.observed[rows, 2]).mean() for d in (drawn, quiet)]
    apart = [d.observed[rows, 0].mean() * d.observed[rows, 2].mean() for d in (drawn, quiet)]
    assert both[0] > 1.3 * apart[0]
    assert both[1] == pytest.approx(apart[1], rel=0.15)


def test_unknown_world_names_the_known_ones():
    with pytest.raises(ValueError, match="world is 'paradise'; it must be one of label, features, u,"):
        simulate.named("paradise")
    assert simulate.named("hopeless", days=60.0) == World(alpha=0.2, days=60.0)


def test_selection_weights_above_one_are_counted():
    assert draw(World(selection="features", alpha=0.1), 2000).capped > 0


def test_ingest_reads_back_what_was_drawn(log, tmp_path, monkeypatch):
    """Late, repeated, revised and disordered events and broken lines change nothing that counts."""
    from unskew import data, events

    monkeypatch.setenv("UNSKEW_KEY", "0" * 64)
    home, summary = log
    report = events.ingest(home / "events", tmp_path / "store")
    assert report.balance["lines"] == summary.lines
    assert report.balance["duplicate"] == summary.repeated
    assert report.balance["quarantined"] == sum(summary.broken.values())
    store = data.Store.open(tmp_path / "store")
    gold, rejected = data.read_gold(home / "gold.jsonl", store)
    assert (gold.num_rows, rejected) == (600, [])
    read = data.examples(store, gold)
    drawn = draw(World(late=0.2, disordered=0.2, repeated=0.1, revised=0.2), SMALL, seed=3)
    row = [int(name[1:]) for name in read.response_id]
    assert [kind.name for kind in read.kinds] == list(drawn.kinds)
    for name in ("offered", "observed", "positive"):
        assert np.array_equal(getattr(read, name), getattr(drawn, name)[row]), name
    assert read.closed.mean() > 0.95
    labelled = ~np.isnan(read.gold)
    assert np.array_equal(read.gold[labelled], drawn.label[row][labelled])
