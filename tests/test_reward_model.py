"""A head and its features on disk: back bit for bit, or an error that says what is wrong."""

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from unskew.features import Hashing
from unskew.reward import Head, NumericError, RewardModel

KINDS = ("linear", "mlp")


def same(left, right):
    """Equal to the last bit."""
    return all(
        np.array_equal(x, y)
        for one, two in zip(left, right, strict=True)
        for x, y in zip(one, two, strict=True)
    )


PROMPTS, RESPONSES = ["Why?", "How?"], ["Because it rained.", "Slowly, and twice."]


def model(kind="linear", seed=0, **rest):
    rng = np.random.default_rng(seed)
    sizes = [17, 1] if kind == "linear" else [17, 4, 1]
    layers = tuple((rng.standard_normal(pair), rng.standard_normal(pair[1])) for pair in pairwise(sizes))
    return RewardModel(Hashing(dim=16), Head(layers), card={"estimator": "ips"}, **rest)


@pytest.fixture
def features_need_sklearn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.mark.usefixtures("features_need_sklearn")
@pytest.mark.parametrize("kind", KINDS)
def test_model_comes_back_from_disk_bit_for_bit(kind, tmp_path):
    before = model(kind, scale=1.0 / 3, shift=-0.1)
    before.save(tmp_path / "new" / "model")
    after = RewardModel.load(tmp_path / "new" / "model")
    assert same(before.head.layers, after.head.layers)
    assert (after.featurizer, after.scale, after.shift, after.card) == (
        before.featurizer,
        before.scale,
        before.shift,
        before.card,
    )
    assert np.array_equal(before.score(PROMPTS, RESPONSES), after.score(PROMPTS, RESPONSES))


@pytest.mark.usefixtures("features_need_sklearn")
def test_score_is_scaled_and_shifted_and_probability_is_its_sigmoid():
    plain, calibrated = model(), model(scale=2.0, shift=-1.0)
    score = 2 * plain.score(PROMPTS, RESPONSES) - 1
    assert calibrated.score(PROMPTS, RESPONSES) == pytest.approx(score)
    assert calibrated.probability(PROMPTS, RESPONSES) == pytest.approx(1 / (1 + np.exp(-score)))
    with pytest.raises(ValueError, match="prompts") as error:
        plain.score(PROMPTS, RESPONSES[:1])
    assert str(error.value) == "there are 2 prompts and 1 responses; one of each is needed"


def test_model_on_disk_is_safetensors_and_json_and_no_pickle(tmp_path):
    model("mlp").save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "reward.json"]
    content = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header.pop("__metadata__") == {"format": "unskew-reward"}
    assert {name: (part["dtype"], part["shape"]) for name, part in header.items()} == {
        "layers.0.weight": ("F32", [17, 4]),
        "layers.0.bias": ("F32", [4]),
        "layers.1.weight": ("F32", [4, 1]),
        "layers.1.bias": ("F32", [1]),
    }
    card = json.loads((tmp_path / "reward.json").read_text())
    assert card["head"] == {"kind": "mlp", "sizes": [17, 4, 1]}
    assert card["featurizer"]["featurizer"] == "hashing"


def edit(**changes):
    """Damage to the card: values replaced."""

    def damage(home):
        path = home / "reward.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def rewrite(name, change):
    """Damage to a file: its bytes changed."""
    return lambda home: (home / name).write_bytes(change((home / name).read_bytes()))


def store(**arrays):
    """Damage to the parameters: others in their place."""

    def damage(home):
        from safetensors.numpy import save

        names = {name.replace("_", "."): array for name, array in arrays.items()}
        (home / "model.safetensors").write_bytes(save(names))

    return damage


NEEDED = "a directory written by `unskew train` is needed"
SAYS = "but reward.json says float32 layers.0.bias [1], layers.0.weight [17, 1]; copy the model again"
ROW, ONE = np.ones((17, 1), np.float32), np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (
            lambda home: (home / "reward.json").unlink(),
            FileNotFoundError,
            f"HOME/reward.json does not exist; {NEEDED}",
        ),
        (
            lambda home: (home / "model.safetensors").unlink(),
            FileNotFoundError,
            f"HOME/model.safetensors does not exist; {NEEDED}",
        ),
        (
            rewrite("model.safetensors", lambda content: content[:-5]),
            ValueError,
            "HOME/model.safetensors: not a safetensors file (REASON); copy the model again",
        ),
        (
            rewrite("model.safetensors", lambda content: b""),
            ValueError,
            "HOME/model.safetensors: not a safetensors file (REASON); copy the model again",
        ),
        (
            rewrite("reward.json", lambda content: content[:-5]),
            ValueError,
            "HOME/reward.json: not JSON (REASON); copy the model again",
        ),
        (
            rewrite("reward.json", lambda content: b"\xff" + content),
            ValueError,
            "HOME/reward.json: not JSON (REASON); copy the model again",
        ),
        (
            rewrite("reward.json", lambda content: b"[]"),
            ValueError,
            'HOME/reward.json: no `"format": "unskew-reward"`; expected a model written by `unskew train`',
        ),
        (
            edit(format="other"),
            ValueError,
            'HOME/reward.json: no `"format": "unskew-reward"`; expected a model written by `unskew train`',
        ),
        (
            edit(version=2),
            ValueError,
            "HOME/reward.json: version is 2; expected 1; install a newer release",
        ),
        (edit(scale="1"), ValueError, "HOME/reward.json: scale is '1'; copy the model again"),
        (edit(shift=True), ValueError, "HOME/reward.json: shift is True; copy the model again"),
        (edit(card=None), ValueError, "HOME/reward.json: card is None; copy the model again"),
        (
            edit(head={"sizes": [17, 0]}),
            ValueError,
            "HOME/reward.json: head sizes are [17, 0]; expected at least two positive whole numbers",
        ),
        (
            edit(head={}),
            ValueError,
            "HOME/reward.json: head sizes are None; expected at least two positive whole numbers",
        ),
        (edit(scale=np.nan), NumericError, "HOME/reward.json: scale is nan; it must be finite"),
        (edit(shift=-np.inf), NumericError, "HOME/reward.json: shift is -inf; it must be finite"),
        (
            edit(head={"sizes": [3, 1]}),
            ValueError,
            "HOME/model.safetensors: found layers.0.bias [1], layers.0.weight [17, 1], but reward.json says "
            "float32 layers.0.bias [1], layers.0.weight [3, 1]; copy the model again",
        ),
        (
            store(layers_0_weight=ROW),
            ValueError,
            f"HOME/model.safetensors: found layers.0.weight [17, 1], {SAYS}",
        ),
        (
            store(layers_0_weight=ROW.astype(np.float64), layers_0_bias=ONE),
            ValueError,
            f"HOME/model.safetensors: found layers.0.bias [1], layers.0.weight [17, 1], {SAYS}",
        ),
        (
            store(layers_0_weight=ROW, layers_0_bias=ONE * np.float32("nan")),
            NumericError,
            "HOME/model.safetensors: 1 parameters of the head are not finite; check the columns, or lower "
            "the step",
        ),
        (
            store(layers_0_weight=ROW, layers_0_bias=ONE),
            ValueError,
            "HOME/model.safetensors is not the file that reward.json was written with; copy the model again",
        ),
        (
            edit(featurizer={"featurizer": "words"}),
            ValueError,
            "HOME: featurizer is 'words'; it must be 'hashing' or 'encoder'",
        ),
        (
            edit(featurizer={"featurizer": "hashing", "dim": 4}),
            ValueError,
            "HOME: dim is 4; at least 8 hashed columns are needed",
        ),
    ],
)
def test_damaged_model_says_what_is_wrong_with_it(damage, kind, message, tmp_path):
    model().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(kind) as error:
        RewardModel.load(tmp_path)
    before, _, after = message.replace("HOME", str(tmp_path)).partition("REASON")
    found = str(error.value)
    assert found == before or (after and found.startswith(before) and found.endswith(after))


@pytest.mark.parametrize("broken", [{"scale": np.nan}, {"shift": np.inf}])
def test_calibration_that_is_not_finite_never_reaches_the_disk(broken, tmp_path):
    with pytest.raises(NumericError) as error:
        model(**broken).save(tmp_path / "model")
    scale, shift = broken.get("scale", 1.0), broken.get("shift", 0.0)
    assert str(error.value) == f"scale is {scale} and shift {shift}; both must be finite to be saved"
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [(os, "fsync", 1), (os, "fsync", 2), (Path, "replace", 1)],
)
def test_interrupted_save_leaves_the_old_model(where, name, calls, tmp_path, monkeypatch):
    old = model(seed=0)
    old.save(tmp_path)
    whole, made = getattr(where, name), []

    def interrupted(*arguments):
        made.append(arguments)
        if len(made) == calls:
            raise OSError("no space left on device")
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, interrupted)
        with pytest.raises(OSError, match="no space left on device"):
            model(seed=1, scale=3.0).save(tmp_path)
    found = RewardModel.load(tmp_path)
    assert same(found.head.layers, old.head.layers)
    assert found.scale == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "reward.json"]


def test_save_that_died_between_its_two_files_is_no_model(tmp_path, monkeypatch):
    model(seed=0).save(tmp_path)
    whole, made = Path.replace, []

    def interrupted(*arguments):
        made.append(arguments)
        if len(made) == 2:
            raise OSError("killed")
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(OSError, match="killed"):
            model(seed=1).save(tmp_path)
    with pytest.raises(ValueError, match=r"is not the file that reward\.json was written with"):
        RewardModel.load(tmp_path)


def test_card_that_json_cannot_hold_leaves_the_old_model(tmp_path):
    old = model(seed=0)
    old.save(tmp_path)
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        replace(model(seed=1), card={"ess": np.nan}).save(tmp_path)
    assert same(RewardModel.load(tmp_path).head.layers, old.head.layers)
