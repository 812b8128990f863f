"""Where rewards come from and what is made of them."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch

from unskew.ppo.monitor import Diverged, Limits, Monitor
from unskew.ppo.rewards import Function, Rewards, Scorer, Written, source
from unskew.ppo.scores import Moments, Treatment
from unskew.ppo.server import Server


def written(*completions, prompts=None, **columns):
    prompts = prompts or [f"ask {number}" for number in range(len(completions))]
    ids = [[1] * len(str(completion)) for completion in completions]
    queries = [f"{prompt}{completion}</s>" for prompt, completion in zip(prompts, completions, strict=True)]
    return Written(prompts, list(completions), ids, queries, [True] * len(completions), columns)


def length(completions, **_):
    return [float(len(completion)) for completion in completions]


# --- sources -----------------------------------------------------------------------------------------------


def test_a_weighted_list_is_a_weighted_sum():
    found = Rewards([length, lambda prompts, completions: [1.0] * len(prompts)], [0.5, -2.0])(
        written("a", "bbb")
    )
    assert found.score.tolist() == [-1.5, -0.5]
    assert found.parts["length"].tolist() == [1.0, 3.0]
    assert (found.missing, found.faults) == (0, {"length": 0, "<lambda>": 0})


def test_a_function_is_given_what_it_names():
    def picky(completions, answer):
        return [float(one == other) for one, other in zip(completions, answer, strict=True)]

    assert Function(picky)(written("x", "y", answer=["x", "z"], other=[0, 0])) == [1.0, 0.0]


def test_none_does_not_apply_and_nan_is_a_fault():
    first = lambda completions: [1.0, None, None, math.nan, math.inf]  # noqa: E731
    second = lambda completions: [10.0, 20.0, None, 40.0, 50.0]  # noqa: E731
    found = Rewards([first, second], limit=1.0)(written(*"abcde"))
    assert found.score[:2].tolist() == [11.0, 20.0]
    assert np.isnan(found.score[2:]).all()
    assert found.missing == 3
    assert list(found.faults.values()) == [2, 0]


def test_a_share_above_the_limit_stops():
    rewards = Rewards(lambda completions: [0.0, math.nan, 0.0, 0.0], limit=0.25)
    assert rewards(written(*"abcd")).missing == 1
    with pytest.raises(ArithmeticError, match=r"1 of 4 completions have no finite reward .*the limit of 20%"):
        Rewards(lambda completions: [0.0, math.nan, 0.0, 0.0], limit=0.2)(written(*"abcd"))


def test_what_cannot_be_a_reward_is_refused():
    with pytest.raises(ValueError, match="reward is a Linear; a directory, a function with TRL's signature"):
        source(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="reward is a int; a directory"):
        source(3)
    with pytest.raises(ValueError, match="reward_funcs is empty"):
        Rewards([])
    with pytest.raises(
        ValueError, match=r"reward_weights are \[1.0\] for 2 rewards; one finite weight a reward"
    ):
        Rewards([length, length], [1.0])
    with pytest.raises(ValueError, match="reward 'length_0' returned 1 values for 2 completions"):
        Rewards([Named("length"), Named("length")])(written("a", "b"))


class Named:
    """A source of one's own."""

    def __init__(self, name):
        self.name = name

    def __call__(self, written):
        return [0.0]


def test_a_directory_of_a_reward_model_scores(tmp_path):
    from unskew.features import Hashing
    from unskew.reward import Head, RewardModel

    featurizer = Hashing()
    X = featurizer(["ask"], ["answer"])
    model = RewardModel(featurizer, Head.linear(np.arange(X.shape[1]) % 7 - 3.0, 0.5))
    model.save(tmp_path / "taste")
    told = written("one answer", "another", prompts=["what", "why"])
    rewards = Rewards(tmp_path / "taste")
    assert rewards.names == ["taste"]
    assert rewards(told).score.tolist() == model.score(told.prompts, told.completions).tolist()


def test_conversations_reach_a_model_of_texts_as_texts():
    class Texts:
        def score(self, prompts, completions):
            return np.array([len(prompts[0]) + len(completions[0])])

    class Talks(Texts):
        conversational = True

        def score(self, prompts, completions):
            return np.array([float(prompt[0]["role"] == "user") for prompt in prompts])

    told = written(
        [{"role": "assistant", "content": "abc"}], prompts=[[{"role": "user", "content": "12345"}]]
    )
    assert Scorer(Texts())(told) == [8.0]
    assert Scorer(Talks())(told) == [1.0]
    assert Rewards(Texts())(told).score.tolist() == [8.0]


# --- a server ----------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Answers what the test put into `replies`, and keeps what was asked."""

    replies: ClassVar[list] = []
    asked: ClassVar[list] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body, dict(self.headers)))
        status, answer = self.replies.pop(0) if self.replies else (200, None)
        if answer is None:
            rewards = [float(len(query)) for query in body["query"]]
            answer = json.dumps(
                {"rewards": rewards, "scores": rewards, "extra_logs": {"served": len(rewards)}}
            )
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Handler.replies, Handler.asked = [], []
    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/get_reward"
        httpd.shutdown()
        thread.join()


def test_a_server_is_asked_in_batches_as_openrlhf_asks(server):
    reward = Server(server, batch=2, headers={"Authorization": "Bearer key"})
    told = written("a", "bb", "ccc", label=["x", "y", "z"])
    assert reward(told) == [float(len(query)) for query in told.queries]
    (path, first, headers), (_, second, _) = Handler.asked
    assert path == "/get_reward"
    assert first == {"query": told.queries[:2], "prompts": told.prompts[:2], "labels": ["x", "y"]}
    assert second["query"] == told.queries[2:]
    assert headers["Authorization"] == "Bearer key"
    assert reward.logs == {"served": 1}


def test_null_and_nan_of_a_server_are_missing(server):
    Handler.replies = [(200, '{"rewards": [1.5, null, NaN]}')]
    found = Rewards(server, limit=1.0)(written("a", "b", "c"))
    assert found.score.tolist()[0] == 1.5
    assert (found.missing, found.faults) == (2, {"server": 1})


def test_a_failing_server_is_asked_again(server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    Handler.replies = [(500, "no"), (503, "no")]
    assert Server(server)(written("a")) == [len("ask 0a</s>")]
    Handler.replies = [(500, "no")] * 3
    with pytest.raises(OSError, match="HTTP 500 after 3 attempts; check that the reward server runs"):
        Server(server)(written("a"))
    Handler.replies = [(404, "no")]
    with pytest.raises(OSError, match="HTTP 404 after 1 attempts"):
        Server(server)(written("a"))


@pytest.mark.parametrize(
    "answer", ["[]", "nonsense", '{"scores": [1]}', '{"rewards": 1}', '{"rewards": ["a"]}']
)
def test_an_answer_of_another_form_is_refused(server, answer):
    Handler.replies = [(200, answer)]
    with pytest.raises(ValueError, match="JSON with a list `rewards` of numbers or null is needed"):
        Server(server)(written("a"))


def test_another_number_of_rewards_is_refused(server):
    Handler.replies = [(200, '{"rewards": [1, 2]}')]
    with pytest.raises(ValueError, match="answered 2 rewards for 1 queries; one each is needed"):
        Server(server)(written("a"))


# --- treatment of scores -----------------------------------------------------------------------------------


def test_running_moments_are_those_of_everything_seen():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1e6
    moments = Moments()
    for part in x.split([1, 0, 20, 29]):
        moments.update(part)
    assert moments.mean == pytest.approx(float(x.mean()), rel=1e-14)
    assert moments.deviation == pytest.approx(float(x.std()), rel=1e-9)
    assert Moments().deviation == Moments(1, 5.0, 0.0).deviation == 1.0


def test_scores_are_scaled_then_clipped_then_pay_for_being_cut_off():
    moments = Moments(count=3, mean=2.0, m2=8.0)  # deviation 2
    score, ended = torch.tensor([1.0, 10.0, -8.0]), torch.tensor([True, True, False])
    treated, clipped = Treatment(scale=True, bound=3.0, penalty=1.0)(score, ended, moments)
    assert treated.tolist() == [0.5, 3.0, -4.0]
    assert clipped == 2
    centred, _ = Treatment(centre=True)(score, ended, moments)
    assert centred.tolist() == [-0.5, 4.0, -5.0]
    assert Treatment()(score, ended, moments)[0].tolist() == score.tolist()


# --- limits ------------------------------------------------------------------------------------------------


def rounds(monitor, name, values, **others):
    for value in values:
        monitor.round({"reward": 0.0, "completions/mean_length": 10.0, "entropy": 2.0, **others, name: value})


@pytest.mark.parametrize(
    ("limits", "name", "values", "what"),
    [
        (Limits(kl=5.0), "kl", [0.0, 4.9, 5.1], "KL is 5.1, it must be at most 5; raise kl_coef"),
        (
            Limits(entropy=0.5),
            "entropy",
            [2.0, 1.1, 0.9],
            "entropy is 0.9, it must be at least 1; raise kl_coef or",
        ),
        (
            Limits(length=2.0),
            "completions/mean_length",
            [10.0, 20.0, 21.0],
            "length is 21, it must be at most 20",
        ),
        (Limits(gold=0.2), "gold", [0.5, 0.8, 0.5], "gold is 0.5, it must be at least 0.6; stop earlier"),
        (Limits(kl=5.0), "kl", [0.0, 1.0, math.nan], "KL is nan, it must be at most 5"),
    ],
)
def test_each_limit_stops_with_the_figures_of_the_last_rounds(limits, name, values, what):
    monitor = Monitor(limits)
    rounds(monitor, name, values[:2])
    with pytest.raises(Diverged) as caught:
        rounds(monitor, name, values[2:])
    report = str(caught.value)
    assert report.startswith(f"round 3: {what}")
    assert len(report.splitlines()) == 5


def test_without_limits_nothing_stops():
    rounds(Monitor(), "kl", [0.0, 1e9, math.nan])


def test_a_reward_that_rises_while_gold_falls_is_noticed():
    monitor = Monitor()
    for number in range(5):
        monitor.round({"reward": float(number), "gold": 4.0 - number})
    assert monitor.warnings == [
        "round 5: over 5 rounds the reward rose from 0 to 4 while the gold reward fell from 4 to 0"
    ]


def test_the_monitor_survives_json():
    monitor = Monitor(Limits(gold=1.0))
    rounds(monitor, "gold", [0.5, 1.0])
    again = Monitor(Limits(gold=1.0))
    again.load_state_dict(json.loads(json.dumps(monitor.state_dict())))
    assert again == monitor
