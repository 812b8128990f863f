"""The example on real preferences reaches its bar."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "hh_harmless.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("hh_harmless", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_linear_head_on_minilm_beats_the_shorter_reply_on_harmless_pairs(
    example, minilm, real_data, features
):
    result = example.run(real_data("hh_harmless"), minilm, features)
    assert result.pairs == 1156
    assert result.shorter == pytest.approx(0.583, abs=0.0005)
    assert result.accuracy.mean() >= 0.595
    assert result.accuracy.mean() > result.shorter


def test_dialogue_is_split_at_its_last_reply(example, real_data):
    prompts, replies = example.load(real_data("hh_harmless"))
    assert len(prompts) == len(replies) == 2312
    assert all(prompt.startswith("Human:") for prompt in prompts)
    assert not any("\n\nAssistant:" in reply for reply in replies)
    shared = np.mean([prompts[i] == prompts[i + 1] for i in range(0, 2312, 2)])
    assert shared > 0.99
