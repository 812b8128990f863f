"""The formulas of policy optimisation, each against a calculation by hand or a loop that cannot be wrong."""

import math
import weakref

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from unskew.ppo.advantage import ADVANTAGES, Rewarded, discounted, dr_grpo, gae, grpo, rloo, whiten
from unskew.ppo.kl import Controller, k1, k2, k3, mixture, penalty, shaped
from unskew.ppo.logprob import logprobs, logprobs_of_logits
from unskew.ppo.objective import by_longest, by_sequence, by_token, clip, value_loss

F64 = torch.float64


def tensor(*rows):
    return torch.tensor(rows, dtype=F64)


def mask(lengths, longest):
    return torch.arange(longest)[None] < torch.tensor(lengths)[:, None]


# --- advantages --------------------------------------------------------------------------------------------


def test_gae_of_three_tokens_is_the_sum_by_hand():
    given = Rewarded(tensor([0.0, 1.0, 2.0]), mask([3], 3), tensor([0.5, 1.0, -1.0]), gamma=0.9, lam=0.5)
    # delta = 0 + .9 - .5, 1 - .9 - 1, 2 + 1;  A_2 = 3, A_1 = -.9 + .45 * 3, A_0 = .4 + .45 * A_1
    advantages, returns = gae(given)
    assert advantages[0].tolist() == pytest.approx([0.4 + 0.45 * 0.45, 0.45, 3.0])
    assert returns[0].tolist() == pytest.approx([0.6025 + 0.5, 1.45, 2.0])


@pytest.mark.parametrize("longest", [1, 2, 3, 8, 13, 64, 100])
def test_gae_equals_the_loop_backwards_through_time(longest):
    torch.manual_seed(longest)
    rewards, values = torch.randn(2, 5, longest, dtype=F64)
    m = mask([longest, 1, max(1, longest // 2), 0, longest], longest)
    rewards, values, gamma, lam = rewards * m, values, 0.97, 0.9
    wanted = torch.zeros(5, longest, dtype=F64)
    for row in range(5):
        ahead = 0.0
        for t in reversed(range(int(m[row].sum()))):
            following = values[row, t + 1] if t + 1 < longest and m[row, t + 1] else 0.0
            ahead = rewards[row, t] + gamma * following - values[row, t] + gamma * lam * ahead
            wanted[row, t] = ahead
    advantages, returns = gae(Rewarded(rewards, m, values, gamma=gamma, lam=lam))
    assert torch.allclose(advantages, wanted, rtol=0, atol=1e-12)
    assert torch.allclose(returns, (wanted + values) * m, rtol=0, atol=1e-12)


def test_gae_with_lambda_one_is_the_return_minus_the_value():
    rewards, values = torch.randn(2, 3, 7, dtype=F64, generator=torch.Generator().manual_seed(0))
    m = torch.ones(3, 7, dtype=torch.bool)
    advantages, returns = gae(Rewarded(rewards, m, values, gamma=0.9, lam=1.0))
    assert torch.allclose(returns, discounted(rewards, 0.9))
    assert torch.allclose(advantages, discounted(rewards, 0.9) - values)


def test_gae_without_values_says_what_to_do():
    with pytest.raises(ValueError, match="gae needs values, found none; give the trainer a value function"):
        gae(Rewarded(torch.zeros(1, 2), mask([2], 2)))


SCORES = tensor([1.0, 0.0], [4.0, 0.0], [4.0, 0.0], [7.0, 2.0])


def test_rloo_is_the_distance_to_the_mean_of_the_others():
    # totals 1 and 4 | 4 and 9, in pairs: each is compared with the other
    advantages, _ = rloo(Rewarded(SCORES, mask([1, 1, 2, 2], 2), group=2))
    assert advantages.tolist() == [[-3.0, 0.0], [3.0, 0.0], [-5.0, -5.0], [5.0, 5.0]]


def test_rloo_of_four_equals_n_over_n_minus_one_times_the_distance_to_the_mean():
    advantages, _ = rloo(Rewarded(SCORES, mask([1, 1, 1, 2], 2), group=4))
    centred, _ = dr_grpo(Rewarded(SCORES, mask([1, 1, 1, 2], 2), group=4))
    assert torch.allclose(advantages, 4 / 3 * centred)


def test_grpo_divides_by_the_deviation_of_the_group():
    # totals 1, 4, 4, 9: mean 4.5, squares 12.25 + .25 + .25 + 20.25 = 33, variance 11
    advantages, _ = grpo(Rewarded(SCORES, mask([1, 1, 1, 2], 2), group=4))
    deviation = math.sqrt(11) + 1e-4
    assert advantages[:, 0].tolist() == pytest.approx([x / deviation for x in (-3.5, -0.5, -0.5, 4.5)])


@pytest.mark.parametrize("name", ["rloo", "grpo", "dr_grpo"])
def test_a_completion_without_reward_counts_in_no_group(name):
    scores = tensor([1.0], [5.0], [1e9], [2.0])
    kept = tensor([1.0], [5.0], [2.0])
    found, _ = ADVANTAGES[name](Rewarded(scores, mask([1, 1, 0, 1], 1), group=4))
    wanted, _ = ADVANTAGES[name](Rewarded(kept, mask([1, 1, 1], 1), group=3))
    assert torch.allclose(found[[0, 1, 3]], wanted)
    assert found[2].tolist() == [0.0]


def test_rloo_of_one_valid_completion_is_nothing():
    assert rloo(Rewarded(tensor([3.0], [0.0]), mask([1, 0], 1), group=2))[0].tolist() == [[0.0], [0.0]]


def test_groups_must_be_whole():
    with pytest.raises(ValueError, match="4 completions in groups of 3; an estimator that compares"):
        grpo(Rewarded(SCORES, mask([1] * 4, 2), group=3))


def test_whitening_ignores_what_is_masked():
    x = tensor([1.0, 2.0, 99.0], [6.0, 99.0, 99.0])
    white = whiten(x, mask([2, 1], 3))
    # mean 3, variance (4 + 1 + 9) / 2 = 7
    assert white.flatten().tolist() == pytest.approx([-2 / 7**0.5, -1 / 7**0.5, 0, 3 / 7**0.5, 0, 0])
    kept = whiten(x, mask([2, 1], 3), shift=False)
    assert kept[0, 0] == pytest.approx(3 - 2 / 7**0.5)
    assert kept[0, 2] == 0


def test_two_ranks_whiten_like_one():
    x, m = torch.randn(4, 5, dtype=F64, generator=torch.Generator().manual_seed(1)), mask([5, 2, 3, 1], 5)
    whole = whiten(x, m)
    sums = []
    # what an all-reduce would return, from the calls of the whole
    whiten(x, m, total=lambda s: sums.append(s) or s)
    replies = iter(sums)
    assert torch.equal(whiten(x[:2], m[:2], total=lambda s: next(replies)), whole[:2])


# --- KL ----------------------------------------------------------------------------------------------------


def test_kl_estimators_of_one_token():
    x = tensor(math.log(2.0), -math.log(2.0))
    assert k1(x).tolist() == pytest.approx([math.log(2), -math.log(2)])
    assert k2(x).tolist() == pytest.approx([0.5 * math.log(2) ** 2] * 2)
    assert k3(x).tolist() == pytest.approx([0.5 - 1 + math.log(2), 2 - 1 - math.log(2)])


def test_k1_and_k3_are_unbiased_and_the_gradient_of_k2_is_that_of_the_kl():
    torch.manual_seed(0)
    logits, reference = torch.randn(2, 6, dtype=F64)
    logits.requires_grad_()
    log_p, log_q = torch.log_softmax(logits, 0), torch.log_softmax(reference, 0)
    p, x = log_p.detach().exp(), log_p - log_q
    kl = (log_p.exp() * x).sum()
    assert (p * k1(x)).sum().item() == pytest.approx(kl.item(), abs=1e-14)
    assert (p * k3(x)).sum().item() == pytest.approx(kl.item(), abs=1e-14)
    (wanted,) = torch.autograd.grad(kl, logits, retain_graph=True)
    (found,) = torch.autograd.grad((p * k2(x)).sum(), logits)
    assert torch.allclose(found, wanted, atol=1e-14)


def test_the_score_is_paid_on_the_last_token_and_the_kl_on_each():
    kl = tensor([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    rewards = shaped(tensor(10.0, 20.0), kl, mask([2, 3], 3), 0.5)
    assert rewards.tolist() == [[-0.5, 9.0, 0.0], [-0.5, -1.0, 18.5]]


def test_the_mixture_form_is_a_scaled_penalty_form():
    torch.manual_seed(0)
    beta, score, kl, m = 0.2, torch.randn(4, dtype=F64), torch.randn(4, 5, dtype=F64), mask([5, 3, 1, 4], 5)
    mixed = shaped(score, kl, m, beta, mixture)
    plain = shaped(score, kl, m, beta / (1 - beta), penalty)
    assert torch.allclose(mixed, (1 - beta) * plain, rtol=0, atol=1e-15)
    # so a value function that is scaled too gives the same whitened advantages, and so does a group
    values = torch.randn(4, 5, dtype=F64)
    left, _ = gae(Rewarded(mixed, m, (1 - beta) * values))
    right, _ = gae(Rewarded(plain, m, values))
    assert torch.allclose(left, (1 - beta) * right, rtol=0, atol=1e-14)
    assert torch.allclose(whiten(left, m), whiten(right, m), rtol=0, atol=1e-6)


def test_the_controller_follows_zieglers_rule():
    control = Controller(0.2, target=6.0, horizon=10_000)
    control.update(60.0, 100)  # error 9, held at .2
    assert control.beta == pytest.approx(0.2 * (1 + 0.2 * 100 / 10_000))
    control.beta = 0.2
    control.update(5.4, 1000)  # error -.1
    assert control.beta == pytest.approx(0.2 * (1 - 0.1 * 0.1))
    control.update(-50.0, 1000)
    assert control.beta == pytest.approx(0.198 * (1 - 0.2 * 0.1))


def test_a_weight_without_target_stays():
    control = Controller(0.05)
    control.update(1e6, 1000)
    assert control.beta == 0.05


# --- losses of tokens --------------------------------------------------------------------------------------


def test_clip_takes_the_worse_of_both():
    ratio = tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantages = tensor([2.0, -2.0, 2.0, -2.0, 1.0])
    loss, clipped = clip(ratio.log(), torch.zeros_like(ratio), advantages, 0.2, 0.3)
    assert loss[0].tolist() == pytest.approx([-2.6, 3.0, -1.0, 1.6, -1.1])
    assert clipped[0].tolist() == [True, False, False, True, False]


def test_a_clipped_token_has_no_gradient():
    logprobs = tensor([0.5, 0.0]).requires_grad_()
    loss, _ = clip(logprobs, torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64), 0.2, 0.2)
    loss.sum().backward()
    assert logprobs.grad.tolist() == [[0.0, -1.0]]


def test_value_loss_takes_the_larger_square():
    values, old, returns = tensor([1.0, 1.0]), tensor([0.0, 0.0]), tensor([2.0, 0.1])
    loss, clipped = value_loss(values, old, returns, 0.2)
    assert loss[0].tolist() == pytest.approx([0.5 * 1.8**2, 0.5 * 0.9**2])
    assert clipped[0].tolist() == [True, False]


def test_weighings_count_tokens_completions_or_a_constant():
    m = mask([1, 4, 0], 4)
    loss = tensor([1.0] * 4, [2.0] * 4, [50.0] * 4)
    means = []
    for weigh in (by_token, by_sequence, by_longest):
        weight, total = weigh(m, 8)
        means.append(float((loss * weight).sum() / total))
    assert means == pytest.approx([9 / 5, 1.5, 9 / 8 / 2])


# --- log-probabilities without logits ----------------------------------------------------------------------


def arms(hidden, weight, bias, targets, temperature, chunk):
    full = logprobs_of_logits(
        torch.nn.functional.linear(hidden, weight, bias), targets, temperature=temperature
    )
    return full, logprobs(hidden, weight, targets, bias=bias, temperature=temperature, chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 7, 23, 64])
@pytest.mark.parametrize("biased", [False, True])
def test_chunked_logprobs_equal_those_of_full_logits_with_gradients(chunk, biased):
    torch.manual_seed(0)
    hidden, weight = torch.randn(23, 6, dtype=F64), torch.randn(40, 6, dtype=F64)
    bias = torch.randn(40, dtype=F64) if biased else None
    leaves = [leaf.requires_grad_() for leaf in (hidden, weight, bias) if leaf is not None]
    targets = torch.randint(0, 40, (23,))
    g, g_entropy = torch.randn(2, 23, dtype=F64)
    results = []
    for chosen, entropy in arms(hidden, weight, bias, targets, 0.7, chunk):
        loss = (g * chosen + g_entropy * entropy).sum()
        results.append([chosen, entropy, *torch.autograd.grad(loss, leaves)])
    for full, chunked in zip(*results, strict=True):
        assert torch.allclose(chunked, full, rtol=0, atol=1e-12)


def test_chunked_logprobs_pass_gradcheck():
    torch.manual_seed(0)
    hidden = torch.randn(5, 3, dtype=F64, requires_grad=True)
    weight = torch.randn(7, 3, dtype=F64, requires_grad=True)
    targets = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(
        lambda h, w: logprobs(h, w, targets, temperature=1.3, chunk=2), (hidden, weight)
    )


def test_chunked_logprobs_under_autocast_stay_near_float32():
    torch.manual_seed(0)
    hidden = torch.randn(16, 8, requires_grad=True)
    weight = torch.randn(30, 8, requires_grad=True)
    targets = torch.randint(0, 30, (16,))
    exact, _ = logprobs(hidden, weight, targets)
    with torch.autocast("cpu", torch.bfloat16):
        chosen, _ = logprobs(hidden, weight, targets, chunk=5)
    chosen.sum().backward()
    assert chosen.dtype == torch.float32
    assert torch.allclose(chosen, exact, atol=0.1)
    assert weight.grad.dtype == torch.float32


class Peak(TorchDispatchMode):
    """Bytes of the storages that operations made, at most alive at a time."""

    def __init__(self):
        super().__init__()
        self.alive = self.most = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.alive += size
                    self.most = max(self.most, self.alive)
                    weakref.finalize(storage, self.gone, key, size)
        return made

    def gone(self, key, size):
        self.known.discard(key)
        self.alive -= size


def peak(chosen):
    """Most bytes alive during forward and backward of `chosen`."""
    with Peak() as seen:
        first, second = chosen()
        (first.sum() + 0.1 * second.sum()).backward()
    return seen.most


def test_chunked_logprobs_need_at_most_half_the_memory():
    torch.manual_seed(0)
    hidden = torch.randn(512, 32, requires_grad=True)
    weight = torch.randn(2000, 32, requires_grad=True)
    targets = torch.randint(0, 2000, (512,))
    full = peak(lambda: logprobs_of_logits(hidden @ weight.t(), targets))
    chunked = peak(lambda: logprobs(hidden, weight, targets, chunk=64))
    assert full > 3 * 512 * 2000 * 4
    assert chunked <= 0.5 * full


def test_logprobs_name_the_shapes_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"hidden is \[2, 3\], weight \[4, 5\]; \[N, H\] and \[V, H\] are needed"
    ):
        logprobs(torch.zeros(2, 3), torch.zeros(4, 5), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"targets are \[3\], hidden \[2, 3\]; one target a row is needed"):
        logprobs(torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(3, dtype=torch.long))
