"""From a store to a fine-tuned transformer: targets as a data set, `train --model`, and on to scores."""

import json
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("datasets", reason="datasets is not installed")
pytest.importorskip("peft", reason="peft is not installed")

from typer.testing import CliRunner  # noqa: E402

import tiny  # noqa: E402
from unskew import data, events, pipeline, simulate  # noqa: E402
from unskew.data import Store  # noqa: E402
from unskew.pipeline.transformer import HELD, Interrupted  # noqa: E402
from unskew.reward import RewardModel, Tokens, TransformerReward, targets  # noqa: E402
from unskew.reward.comparisons import prepare  # noqa: E402

TRAINER = {"num_train_epochs": 1, "per_device_train_batch_size": 32, "learning_rate": 1e-3, "use_cpu": True}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A simulated log in a store, its gold, and a small model on disk."""
    where = tmp_path_factory.mktemp("road")
    simulate.simulate(where / "log", 1500, simulate.named("label"), 0)
    (where / "key").write_text("00" * 32)
    events.ingest([where / "log" / "events"], where / "store", key_file=where / "key")
    tokenizer = tiny.tokenizer(pad=None)
    tiny.classifier(vocabulary=len(tokenizer), layers=1).save_pretrained(where / "small")
    tokenizer.save_pretrained(where / "small")
    return where


@pytest.fixture(scope="module")
def run(home):
    settings = pipeline.TrainConfig(model=str(home / "small"), trainer=TRAINER, accept_red="small log")
    return pipeline.train(home / "store", home / "run", settings, gold=home / "log" / "gold.jsonl")


def test_target_in_a_store_is_a_data_set_with_its_text(home, run):
    store = Store.open(home / "store")
    rows, loss = targets.dataset(store)
    kept = store.load("targets")
    assert kept[0] == run["provenance"]["target"]
    assert loss == kept[1]["loss"]
    names = ("w", "d", "m") if loss == "mixture" else ("a", "b", "m")
    columns = [np.asarray(kept[2][name].to_numpy()) for name in names]
    used = np.flatnonzero((columns[0] != 0) | (columns[1] != 0))
    held = data.examples(store)
    prompts, responses = data.texts(store, held.row[used])
    assert (rows["prompt"], rows["completion"]) == (prompts, responses)
    for name, column in zip(names, columns, strict=True):
        assert np.array_equal(rows[name], column[used])
    made, _ = prepare(rows, Tokens(tiny.tokenizer(), separator="\n\n"), loss)
    assert len(made) == len(used)
    with pytest.raises(ValueError, match=r"keeps no target nothing; run `unskew train` on it first"):
        targets.dataset(store, "nothing")


def test_pairs_of_a_store_come_as_groups_with_every_response_once(home):
    import pyarrow as pa

    store = Store.open(home / "store")
    held = data.examples(store)
    a, b = pipeline.recipes.shown_together(held.group, held.group < np.unique(held.group)[40])
    weight = np.arange(1.0, len(a) + 1)
    table = pa.table({"row_a": b, "row_b": a, "a": weight, "b": weight / 2, "m": 0 * weight})
    rows, _ = targets.dataset(store, table, loss="brier")
    found = {}
    for row in rows:
        for i, j, x, y in zip(row["ahead"], row["behind"], row["a"], row["b"], strict=True):
            assert y == x / 2
            found[x] = row["prompt"], row["completions"][i], row["completions"][j]
    for x, first, second in zip(weight, b, a, strict=True):
        prompts, responses = data.texts(store, held.row[[first, second]])
        assert found[x] == (prompts[0], *responses)
    with pytest.raises(ValueError, match="no entry of the target weighs anything"):
        targets.dataset(store, table, loss="brier", keep=np.zeros(len(a), bool))


def test_transformer_is_written_measured_and_named(home, run):
    loaded = RewardModel.load(home / "run" / "model")
    assert isinstance(loaded, TransformerReward)
    assert loaded.card["estimator"] == run["estimator"]
    assert loaded.card["base_model"] == "small"
    assert loaded.card["scale"]
    assert not (home / "run" / "checkpoints").exists()
    ours, *others = run["arms"]
    assert (ours["role"], ours["name"]) == ("ours", f"{run['estimator']}-transformer")
    assert "held-out responses" in ours["label"]
    assert 0 < ours["metrics"]["brier"]["value"] < 1
    assert [arm["role"] for arm in others if arm["name"] == run["estimator"]] == ["baseline"]
    history = run["transformer"]["history"]
    assert [entry for entry in history if "eval_mixture" in entry or "eval_brier" in entry]
    written = json.loads((home / "run" / "run.json").read_text())
    assert written["transformer"]["rows"] == run["transformer"]["rows"]


def test_measured_prompts_and_their_gold_are_kept_from_the_transformer(home, run, monkeypatch):
    """Other gold labels in the fold that measures, the same model."""
    import unskew.pipeline.transformer as transformer

    settings = pipeline.TrainConfig(model=str(home / "small"), trainer=TRAINER, accept_red="small log")
    seen = []
    monkeypatch.setattr(
        targets, "dataset", lambda store, table, **options: seen.append((table, options)) or stop()
    )

    def stop():
        raise KeyboardInterrupt

    from unskew.pipeline.store import open_material

    material, _ = open_material(Store.open(home / "store"), settings)
    for flip in (False, True):
        rows = material.examples
        if flip:
            here = material.fold == transformer.HELD
            rows = transformer.replace(rows, gold=np.where(here, 1 - rows.gold, rows.gold))
        part = transformer.replace(material, examples=rows)
        arm = pipeline.arms.Arm(
            "gold", "gold", "ours", None, pipeline.recipes.gold(part), np.zeros(len(rows))
        )
        with pytest.raises(KeyboardInterrupt):
            transformer.fine_tune(
                Store.open(home / "store"),
                part,
                arm,
                settings,
                home / "other",
                known=~np.isnan(rows.gold),
                card={},
            )
    (first, options), (second, _) = seen
    assert first.equals(second)
    keep = options["keep"]
    assert not keep[material.fold == transformer.HELD].any()
    assert keep.any()


def test_command_line_trains_scores_and_evaluates_a_transformer(home):
    from unskew.cli import app

    config = home / "run.yaml"
    config.write_text(
        f"model: {home / 'small'}\ntrainer: {json.dumps(TRAINER)}\n"
        "lora: {r: 2, target_modules: all-linear}\naccept_red: small log\n"
    )
    call = CliRunner().invoke
    done = call(app, ["train", str(home / "store"), "-c", str(config), "--out", str(home / "cli"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["arms"][0]["name"].endswith("-transformer")
    rows = home / "rows.jsonl"
    rows.write_text('{"prompt": "tell me", "response": "good"}\n{"prompt": "tell me", "response": "bad"}\n')
    done = call(app, ["score", str(home / "cli" / "model"), str(rows)])
    assert done.exit_code == 0, done.output
    loaded = RewardModel.load(home / "cli" / "model")
    wanted = loaded.score(["tell me"] * 2, ["good", "bad"])
    assert [json.loads(line)["reward"] for line in done.stdout.splitlines()] == pytest.approx(
        list(wanted), abs=1e-5
    )
    done = call(app, ["evaluate", str(home / "cli" / "model"), "--store", str(home / "store"), "--json"])
    assert done.exit_code == 0, done.output
    assert loaded.card["held_out"] == HELD  # the prompts that may measure it
    found, rows = json.loads(done.stdout)["evaluation"], len(data.examples(Store.open(home / "store")))
    held = found["n"] < rows / 2
    assert found["in_sample"] is not held  # few held-out prompts are not enough, and that is said
    assert (home / "cli" / "report.html").is_file()


def test_interrupted_run_goes_on_and_other_settings_are_refused(home, monkeypatch):
    from unskew.reward.trainer import RewardTrainer

    trainer = {**TRAINER, "num_train_epochs": 2}
    settings = pipeline.TrainConfig(model=str(home / "small"), trainer=trainer, accept_red="small log")
    step = RewardTrainer.before_step

    def interrupt(self, model):
        step(self, model)
        if self.state.global_step == 5:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RewardTrainer, "before_step", interrupt)
        with pytest.raises(Interrupted, match="goes on from the newest checkpoint") as caught:
            pipeline.train(home / "store", home / "stopped", settings)
    assert caught.value.exit_code == 130
    assert (home / "stopped" / "checkpoints" / "checkpoint-6").is_dir()
    other = pipeline.TrainConfig(model=str(home / "small"), trainer=TRAINER, accept_red="small log")
    with pytest.raises(ValueError, match="holds checkpoints of a run with other settings"):
        pipeline.train(home / "store", home / "stopped", other)
    pipeline.train(home / "store", home / "stopped", settings)
    pipeline.train(home / "store", home / "whole", settings)
    both = [(home / name / "model" / "model.safetensors").read_bytes() for name in ("stopped", "whole")]
    assert both[0] == both[1]
