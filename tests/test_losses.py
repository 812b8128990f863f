"""The losses: reference against autograd and finite differences, Rust against it, and every message."""

import shutil
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from unskew import estimators, losses  # noqa: E402
from unskew.losses.engines import SUMS, chunked, compiled  # noqa: E402
from unskew.losses.reference import LOSSES, target  # noqa: E402

NAMES = list(LOSSES)
FORMS = [("folded", name) for name in NAMES] + [("raw", "logistic"), ("raw", "brier")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
SIZES = [0, 1, 63, 1025, 70_001]
double = {"dtype": torch.float64}


def draw(count, entry, loss, dtype=torch.float64, seed=0):
    """Scores of two slots and valid columns; a is negative in places, weights and targets 0 in others."""
    rng = np.random.default_rng(seed)
    size = rng.choice([0.1, 1, 20, 1e4], count)
    ahead, behind = rng.standard_normal((2, count)) * size
    margin = rng.normal(0, 0.3, count)
    if entry == "folded":
        a = rng.choice([0, 1, 1, 2.5, -0.5], count) * rng.uniform(0.5, 1, count)
        b = a * rng.choice([0, 1, 0.3, 1.2, -0.2], count)
        d = rng.choice([0, 1e-6, -1e-3, 1, -4, 30, -30], count)
        columns = [a, d if loss == "mixture" else b]
    else:
        observed = rng.random(count) < 0.6
        label = np.where(observed, rng.choice([0, 1, 0.3], count), np.nan)
        propensity = rng.choice([0.01, 0.3, 1], count) * rng.uniform(0.8, 1, count)
        fnr, fpr = rng.uniform(0, 0.35, (2, count))
        columns = [label, observed, propensity, fnr, fpr, rng.random(count)]
    numbers = [ahead, behind, *columns, margin]
    made = [torch.tensor(x, dtype=torch.bool if x.dtype == bool else dtype) for x in numbers]
    return made[0], made[1], made[2:]


def same(found, wanted, scale, tolerance):
    """Equal, up to rounding of what was added up."""
    wrong = (found.double() - wanted.double()).abs() > tolerance * scale.double()
    return not bool(wrong.any()) and bool((found.isnan() == wanted.isnan()).all())


# the reference


def points(**options):
    """z, weight and second column at which the formulas are tried."""
    z = torch.tensor([-40, -3, -0.2, 0, 0.7, 5, 33], **options)
    grid = torch.cartesian_prod(
        z, torch.tensor([0, 1, 2.5, -0.5], **options), torch.tensor([0.0, 1, -3], **options)
    )
    return [column.clone() for column in grid.T]


@pytest.mark.parametrize("name", NAMES)
def test_slope_is_the_derivative_of_the_loss(name):
    value, slope = LOSSES[name]
    z, a, b = points(**double)
    z.requires_grad_()
    (found,) = torch.autograd.grad(value(z, a, b).sum(), z)
    assert torch.allclose(found, slope(z, a, b), rtol=1e-12, atol=1e-15)
    near = z.detach()
    secant = (value(near + 1e-5, a, b) - value(near - 1e-5, a, b)) / 2e-5
    assert torch.allclose(secant, slope(near, a, b), rtol=1e-6, atol=1e-8)


def test_losses_are_the_formulas_of_the_page():
    z, a, b = points(**double)
    softplus, s = torch.nn.functional.softplus, torch.sigmoid(z)
    assert torch.allclose(losses.logistic(z, a, b), a * softplus(z, threshold=50) - b * z, rtol=1e-13)
    assert torch.allclose(losses.brier(z, a, b), a * s**2 - 2 * b * s + b, rtol=1e-13, atol=1e-15)
    plain = a * (softplus(z, threshold=50) - softplus(z + b, threshold=50))
    assert torch.allclose(losses.mixture(z, a, b), plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_large_scores_neither_overflow_nor_cancel(name):
    z = torch.tensor([-1e4, -200, 200, 1e4])
    certain = torch.tensor([0.0, 0, 1, 1])
    value, slope = LOSSES[name]
    second = 60 * certain - 30 if name == "mixture" else certain
    assert (value(z, torch.ones(4), second).abs() <= 30).all()
    assert (slope(z, torch.ones(4), second).abs() < 1e-30).all()
    if name != "mixture":
        assert (value(z, torch.ones(4), certain).abs() < 1e-30).all()


@pytest.mark.parametrize(("entry", "loss"), FORMS)
@pytest.mark.parametrize("single", [False, True])
def test_gradients_and_their_gradients_are_right(entry, loss, single):
    ahead, behind, columns = draw(9, entry, loss)
    ahead, behind = ahead.clamp(-3, 3), behind.clamp(-3, 3)

    def call(ahead, behind=None):
        return getattr(losses, entry)(ahead, behind, *columns, loss=loss, temperature=1.3, normalizer=2.5)[0]

    scores = [s.requires_grad_() for s in ([ahead] if single else [ahead, behind])]
    assert torch.autograd.gradcheck(call, scores)
    assert torch.autograd.gradgradcheck(call, scores)


@pytest.mark.parametrize(("entry", "loss"), FORMS)
def test_operation_keeps_the_rules_of_torch_library(entry, loss):
    ahead, behind, columns = draw(5, entry, loss)
    form = (entry, loss, 1.3, 0.02, 0.5)
    torch.library.opcheck(torch.ops.unskew.loss.default, (ahead, behind, columns, *form))
    torch.library.opcheck(torch.ops.unskew.loss.default, (ahead, None, columns, *form))


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", ["folded", "raw"])
def test_compiled_graph_is_whole_and_has_the_same_gradient(entry):
    ahead, behind, columns = draw(40, entry, "brier", torch.float32)

    def call(ahead, behind):
        value, stats = getattr(losses, entry)(ahead, behind, *columns)
        return 2 * value, stats.sums

    found = []
    for function in (call, torch.compile(call, fullgraph=True)):
        scores = [s.clone().requires_grad_() for s in (ahead, behind)]
        value, sums = function(*scores)
        found.append([value.detach(), sums, *torch.autograd.grad(value, scores)])
    for plain, whole in zip(*found, strict=True):
        assert torch.equal(plain, whole)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_gradients_belong_to_the_caller_even_where_they_are_the_slopes_that_were_kept(factor):
    ahead, behind, columns = draw(40, "folded", "brier")
    leaves = [s.clone().requires_grad_() for s in (ahead, behind)]
    value = factor * losses.folded(*leaves, *columns)[0]
    value.backward(retain_graph=True)
    once = [leaf.grad.clone() for leaf in leaves]
    assert torch.equal(once[0], -once[1])
    for leaf in leaves:  # as clipping does, and an optimizer that zeroes in place
        leaf.grad.mul_(0)
    value.backward()
    assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(leaves, once, strict=True))


# Rust


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("entry", "loss"), FORMS)
@pytest.mark.parametrize("single", [False, True], ids=["pairs", "singles"])
@pytest.mark.parametrize("scalar", [False, True], ids=["columns", "numbers"])
def test_rust_equals_the_reference(count, dtype, entry, loss, single, scalar):
    """Up to the terms of each formula, which may cancel: |b| softplus(-z) + |a - b| softplus(z) and so on."""
    ahead, behind, columns = draw(count, entry, loss, dtype)
    if scalar:
        columns = [column[:1] if len(column) else column.new_ones(1) for column in columns]
        columns[0] = torch.ones_like(columns[0])
    behind = None if single else behind
    form = (entry, loss, 1.3, 0.02, 0.5)
    wanted, slopes = chunked(ahead, behind, columns, *form)
    found, slope = compiled(ahead, behind, columns, *form)
    z = 1.3 * (ahead if single else ahead - behind) - columns[-1]
    rows, steep = terms(z, columns, entry, loss)
    assert same(slope, slopes, 0.65 * steep + 1e-30, 4 * TOLERANCE[dtype])
    scale = torch.cat([rows.double().sum()[None], wanted[1:].abs()])
    counts = [SUMS.index(name) for name in ("clipped", "outside", "invalid")]
    assert torch.equal(found[counts], wanted[counts])
    assert same(found, wanted, scale.where(scale.isfinite(), 1), TOLERANCE[dtype])
    assert scalar or count < 1000 or loss == "mixture" or (found[counts[:1]] > 0).all() == (entry == "raw")


def terms(z, columns, entry, loss):
    """Sum of the sizes of the terms of the loss and of the slope, for each row."""
    if entry == "raw":
        label, *others = columns[:-1]
        a, b, *_ = target(label.nan_to_num(), *others)
        spread = 3 / others[1].clamp(min=0.02)  # what is subtracted on the way to b
        b, rest = b.abs() + spread, (a - b).abs() + spread
    else:
        a, b = columns[:2]
        b, rest = b.abs(), (a - b).abs()
    up, down = torch.sigmoid(z), torch.sigmoid(-z)
    if loss == "mixture":
        either = torch.nn.functional.softplus(z.abs()) + columns[1].abs()
        return 2 * columns[0].abs() * either.expand(z.shape), columns[0].abs() * torch.minimum(
            torch.sigmoid(z + columns[1].abs()), torch.sigmoid(columns[1].abs() - z)
        )
    slope = rest * up + b * down
    if loss == "brier":
        return rest * up**2 + b * down**2, 2 * up * down * slope
    softplus = torch.nn.functional.softplus
    return b * softplus(-z) + rest * softplus(z), slope


@pytest.mark.parametrize(("entry", "loss"), FORMS)
def test_bits_do_not_depend_on_the_number_of_threads(entry, loss):
    ahead, behind, columns = draw(150_001, entry, loss, torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(torch.ops.unskew.loss(ahead, behind, columns, entry, loss, 1.0, 0.02, 1.0))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(sums, found[0][0]) and torch.equal(slope, found[0][1]) for sums, slope in found)


def test_other_numbers_than_float32_and_float64_go_to_torch():
    ahead, behind, columns = draw(9, "folded", "brier", torch.bfloat16)
    ahead, behind = ahead.clamp(-2, 2), behind.clamp(-2, 2)
    sums, slope = torch.ops.unskew.loss(ahead, behind, columns, "folded", "brier", 1.0, 0.02, 1.0)
    assert slope.dtype == torch.bfloat16
    wanted, _ = compiled(
        ahead.double(), behind.double(), [c.double() for c in columns], "folded", "brier", 1.0, 0.02, 1.0
    )
    assert torch.allclose(sums[:3], wanted[:3], rtol=0.02, atol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": [torch.ones(4)[::2], torch.ones(1), torch.ones(1)]},
            "a tensor is not as the loss needs it: contiguous, on the CPU, with 4 bytes a number",
        ),
        (
            {"columns": [torch.ones(2, dtype=torch.int32), torch.ones(1), torch.ones(1)]},
            "a tensor is not as the loss needs it: contiguous, on the CPU, with 4 bytes a number",
        ),
        (
            {"columns": [torch.ones(1), torch.ones(3), torch.ones(1)]},
            "a column does not fit 2 scores: one number per score, or one for all, is needed",
        ),
        (
            {"columns": [torch.ones(1)] * 2},
            "entry is 'folded' with 2 columns; it must be folded with 3, or raw with 6 or 7",
        ),
        ({"loss": "hinge"}, "loss is 'hinge'; it must be one of logistic, brier, mixture"),
    ],
)
def test_rust_refuses_what_it_cannot_read(change, message):
    given = {"columns": [torch.ones(1)] * 3, "loss": "brier"} | change
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        compiled(torch.zeros(2), None, given["columns"], "folded", given["loss"], 1.0, 0.02, 1.0)
    assert str(caught.value) == message


# properties


@pytest.mark.parametrize("loss", ["logistic", "brier"])
@pytest.mark.parametrize("robust", [False, True], ids=["ips", "doubly robust"])
def test_raw_equals_folded_on_the_columns_of_the_estimators(loss, robust):
    ahead, behind, columns = draw(2_000, "raw", loss)
    label, observed, propensity, fnr, fpr, imputation, m = (c.numpy() for c in columns)
    imputed = {"imputation": imputation} if robust else {}
    make = estimators.doubly_robust if robust else estimators.ips
    made = make(label, observed, propensity, fnr=fnr, fpr=fpr, **imputed)
    found = []
    for function, given in (
        (losses.folded, (made.a, made.b, m)),
        (losses.raw, (label, observed, propensity, fnr, fpr, imputation if robust else None, m)),
    ):
        scores = [s.clone().requires_grad_() for s in (ahead, behind)]
        value, stats = function(*scores, *map(tensor, given), loss=loss)
        found.append((value.detach(), *torch.autograd.grad(value, scores), stats))
    (one, *ones, folded), (two, *twos, raw) = found
    rows, steep = terms(ahead - behind - columns[-1], columns, "raw", loss)
    assert same(one, two, rows.sum(), 1e-12)
    assert all(same(first, second, steep, 1e-12) for first, second in zip(ones, twos, strict=True))
    assert folded.outside == raw.outside > 0
    assert raw.clipped == int((observed & (propensity < 0.02)).sum()) > 0
    assert folded.clipped == raw.invalid == folded.invalid == 0
    weight = observed / np.maximum(propensity, 0.02)
    assert np.isclose(raw.ess, weight.sum() ** 2 / (weight**2).sum(), rtol=1e-12)
    assert robust or np.isclose(folded.ess, raw.ess, rtol=1e-12)


def tensor(values):
    return None if values is None else torch.as_tensor(values)


@pytest.mark.parametrize(("entry", "loss"), [form for form in FORMS if form[1] != "mixture"])
def test_swapping_the_pair_swaps_the_gradients_and_nothing_else(entry, loss):
    ahead, behind, columns = draw(200, entry, loss)
    *rest, m = columns
    if entry == "folded":
        swapped = [rest[0], rest[0] - rest[1], -m]
    else:
        label, observed, propensity, fnr, fpr, imputation = rest
        swapped = [1 - label, observed, propensity, fpr, fnr, 1 - imputation, -m]
    here, there = (s.clone().requires_grad_() for s in (ahead, behind))
    value, _ = getattr(losses, entry)(here, there, *columns, loss=loss)
    other, _ = getattr(losses, entry)(there, here, *swapped, loss=loss)
    first = torch.autograd.grad(value, (here, there))
    assert torch.equal(first[0], -first[1])
    second = torch.autograd.grad(other, (here, there))
    assert torch.isclose(value, other, rtol=1e-12)
    for one, two in zip(first, second, strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("entry", "loss"), FORMS)
def test_row_without_weight_changes_nothing(entry, loss):
    ahead, behind, columns = draw(100, entry, loss)
    columns = columns[:5] + columns[6:] if entry == "raw" else columns
    silent = torch.arange(100) % 3 == 0
    which = 1 if entry == "raw" else 0
    columns[which] = columns[which].masked_fill(silent, 0)
    if entry == "folded" and loss != "mixture":
        columns[1] = columns[1].masked_fill(silent, 0)
    form = (entry, loss, 1.0, 0.02, 1.0)
    sums, slope = compiled(ahead, behind, columns, *form)
    kept = [x[~silent].contiguous() for x in (ahead, behind, *columns)]
    fewer, some = compiled(kept[0], kept[1], kept[2:], *form)
    assert torch.allclose(sums[:-2], fewer[:-2], rtol=1e-12)
    assert (slope[silent] == 0).all()
    assert torch.equal(slope[~silent], some)


def test_strided_and_expanded_columns_and_scores_are_read_rightly():
    ahead, behind, columns = draw(50, "raw", "brier")
    columns[3] = torch.tensor(0.1, **double)
    spread = [torch.stack([x, x], 1)[:, 0] if x.ndim else x.expand(50) for x in (ahead, behind, *columns)]
    assert not spread[0].is_contiguous()
    plain, dense = losses.raw(ahead, behind, *columns)
    value, stats = losses.raw(spread[0], spread[1], *spread[2:])
    assert torch.equal(value, plain)
    assert torch.equal(stats.sums, dense.sums)
    both = torch.cat([ahead, behind]).requires_grad_()
    value, _ = losses.raw(*both.chunk(2), *columns)
    assert torch.equal(value, plain)
    (slope,) = torch.autograd.grad(value, both)
    assert torch.equal(slope[:50], -slope[50:])


def test_half_precision_scores_are_raised_before_they_are_subtracted():
    ahead, behind = torch.tensor([300.0, 1.5]).bfloat16(), torch.tensor([299.0, -0.25]).bfloat16()
    here = ahead.clone().requires_grad_()
    value, _ = losses.folded(here, behind, 1.0, 1.0, loss="logistic")
    wanted = torch.nn.functional.softplus(behind.float() - ahead.float()).sum()
    assert value.dtype == torch.float32
    assert torch.isclose(value, wanted, rtol=1e-6)
    (slope,) = torch.autograd.grad(value, here)
    assert slope.dtype == torch.bfloat16


def test_counts_and_sums_by_hand():
    recorded = [[1, 0, 1, 0], [1, 1, 0, 1], [0.5, 0.01, 0.01, 0.25]]  # label, observed, propensity
    scores = torch.tensor([0.0, 1, 2, -1], **double)
    value, stats = losses.raw(scores, None, *map(torch.tensor, recorded), fpr=0.1, normalizer=8)
    assert (stats.rows, stats.clipped, stats.outside, stats.invalid) == (4, 1, 2, 0)
    assert (stats.weight, stats.z_min, stats.z_max) == (2 + 50 + 4, -1, 2)
    assert stats.ess == pytest.approx(56**2 / (4 + 2500 + 16), rel=1e-12)
    assert value.item() == pytest.approx(stats.loss / 8, rel=1e-12)
    assert "mixture" in NAMES
    _, stats = losses.folded(scores, None, 1.0, 5.0, loss="mixture")
    assert (stats.outside, stats.clipped, stats.ess) == (0, 0, 4)


def test_no_rows_have_no_loss():
    scores = torch.zeros(0, requires_grad=True)
    value, stats = losses.folded(scores, None, torch.zeros(0), torch.zeros(0))
    value.backward()
    assert (value.item(), stats.weight, stats.ess, stats.rows) == (0, 0, 0, 0)
    assert (stats.z_min, stats.z_max) == (float("inf"), float("-inf"))
    assert scores.grad.shape == (0,)


def test_normalizer_may_be_a_tensor_that_no_one_reads():
    ahead, behind, columns = draw(20, "folded", "brier")
    here = ahead.requires_grad_()
    number, _ = losses.folded(here, behind, *columns, normalizer=3)
    late, _ = losses.folded(here, behind, *columns, normalizer=torch.tensor(3.0))
    assert torch.isclose(number, late, rtol=1e-14)
    one, two = (torch.autograd.grad(value, here)[0] for value in (number, late))
    assert torch.allclose(one, two, rtol=1e-14)


# messages

THREE = {"label": 1.0, "observed": True, "propensity": 0.5}
BROKEN = [
    ({"propensity": 0.0}, "propensity of row 1 is 0; it must be in (0, 1]. drop the row"),
    ({"propensity": 1.5}, "propensity of row 1 is 1.5; it must be in (0, 1]. drop the row"),
    ({"propensity": float("nan")}, "propensity of row 1 is nan; it must be in (0, 1]. drop the row"),
    ({"fnr": -0.1}, "fnr of row 1 is -0.1; it must be in [0, 1]. it is a probability"),
    ({"fpr": -0.25}, "fpr of row 1 is -0.25; it must be in [0, 1]. it is a probability"),
    (
        {"fnr": 0.5, "fpr": 0.5},
        "1 - fnr - fpr of row 1 is 0; it must be above 0.2. "
        "labels this noisy carry next to nothing: leave the kind out, or use the mixture",
    ),
    ({"label": 2.0}, "label of row 1 is 2; it must be in [0, 1]. 1 is liked, 0 is not"),
    (
        {"imputation": -1.5},
        "imputation of row 1 is -1.5; it must be in [0, 1]. it is a probability, not a logit",
    ),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[next(iter(c)) for c, _ in BROKEN])
def test_row_that_cannot_be_is_named(change, message):
    good = THREE | {"fnr": 0.1, "fpr": 0.1, "imputation": 0.5}
    columns = {name: torch.tensor([value] * 4) for name, value in good.items()}
    for name, value in change.items():
        columns[name] = columns[name].clone()
        columns[name][1] = value
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        losses.raw(torch.zeros(4), None, **columns)
    assert str(caught.value) == message
    columns = [columns[name] for name in ("label", "observed", "propensity", "fnr", "fpr", "imputation")]
    sums, slope = compiled(torch.zeros(4), None, [*columns, torch.zeros(1)], "raw", "brier", 1.0, 0.02, 1.0)
    assert sums[SUMS.index("invalid")] == 1
    assert sums[0].isnan()
    assert slope.isnan().tolist() == [False, True, False, False]


def test_more_rows_that_cannot_be_are_counted():
    with pytest.raises(ValueError, match=r"^propensity of row 0 \(and of 2 more\) is 7; it must be in"):
        losses.raw(torch.zeros(3), None, **THREE | {"propensity": 7.0})


def test_label_and_propensity_of_unobserved_rows():
    scores, seen = torch.zeros(2), torch.tensor([True, False])
    value, _ = losses.raw(scores, None, torch.tensor([1.0, float("nan")]), seen, 0.5)
    assert value.item() == 0.5


def call(scores=None, behind=None, entry="folded", **given):
    start = {"a": 1.0, "b": 0.5} if entry == "folded" else dict(THREE)
    getattr(losses, entry)(torch.zeros(2) if scores is None else scores, behind, **start | given)


NEEDED = "one floating number per row, shape [N], is needed"
REFUSED = [
    ({"scores": torch.zeros(2, 1)}, f"scores_a has shape [2, 1] and dtype float32; {NEEDED}"),
    (
        {"scores": torch.zeros(2, dtype=torch.int64)},
        f"scores_a has shape [2] and dtype int64; {NEEDED}",
    ),
    (
        {"behind": torch.zeros(3)},
        "scores_b has shape [3] and dtype float32, scores_a [2] and float32; the same is needed",
    ),
    (
        {"behind": torch.zeros(2, dtype=torch.float64)},
        "scores_b has shape [2] and dtype float64, scores_a [2] and float32; the same is needed",
    ),
    (
        {"b": torch.zeros(1, requires_grad=True)},
        "b requires a gradient, and none flows into it; pass b.detach()",
    ),
    (
        {"loss": "mixture", "b": torch.zeros(3)},
        "d has shape [3], scores_a has shape [2]: one number per score, or one for all, is needed",
    ),
    (
        {"a": torch.zeros(3)},
        "a has shape [3], scores_a has shape [2]: one number per score, or one for all, is needed",
    ),
    (
        {"entry": "raw", "observed": torch.tensor([0.5, 1])},
        "observed has 1 entries that are neither 0 nor 1; pass booleans",
    ),
    (
        {"entry": "raw", "loss": "mixture"},
        "loss is 'mixture', which reads evidence, not targets; use estimators.mixture and folded",
    ),
    ({"entry": "raw", "floor": 1.5}, "floor is 1.5; it is a propensity and must be in [0, 1]"),
    ({"loss": "hinge"}, "loss is 'hinge'; it must be one of logistic, brier, mixture"),
    ({"temperature": 0}, "temperature is 0; it must be > 0"),
    ({"normalizer": -2.0}, "normalizer is -2.0; it must be > 0"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[next(iter(g)) for g, _ in REFUSED])
def test_wrong_use_is_refused(given, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
        call(**given)
    assert str(caught.value) == message


def test_public_names():
    rowwise, batch = ["brier", "logistic", "mixture"], ["absolute", "class_risks", "flooding", "non_negative"]
    assert losses.__all__ == sorted(["FLOOR", "Stats", "folded", "raw", *rowwise, *batch])
    assert list(product(["folded"], NAMES)) == FORMS[:3]
