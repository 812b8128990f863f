"""The pairwise kernel: interpreted beside the reference, unbiased by enumeration, compiled for GPUs."""

import json
from fractions import Fraction
from itertools import product

import pytest

torch = pytest.importorskip("torch")
# older interpreters fail in loops when numpy is 2.4 or newer
pytest.importorskip("triton", minversion="3.7")

# ruff: noqa: E402
from triton_tools import KERNELS, Interpreter, ahead_of_time, interpreter_process, nvidia_tool, resources
from unskew import losses
from unskew.kernels import _math, pairwise
from unskew.losses import op, reference
from unskew.losses.engines import SUMS, Form, chunked, enter, margin

BLOCK = pairwise.BLOCK
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
LAW = {torch.float64: 1e-12, torch.float32: 2e-5}
# entry, loss, with imputation
FORMS = [
    *(("folded", loss, False) for loss in ("logistic", "brier", "mixture")),
    *(("raw", loss, imputed) for loss, imputed in product(("logistic", "brier"), (False, True))),
]
IDS = ["-".join([entry, loss, "dr"[: 2 * imputed]]).strip("-") for entry, loss, imputed in FORMS]
every_form = pytest.mark.parametrize(("entry", "loss", "imputed"), FORMS, ids=IDS)
every_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


@pytest.fixture(scope="module")
def interpreted():
    with interpreter_process() as pool:
        yield Interpreter(pool, "pairwise")


def rows(n, dtype, entry, imputed, *, pairs=True, single=(), device="cpu", seed=0):
    """Scores and columns; columns whose position is in `single` have one entry for all rows."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * torch.rand(n, generator=draw, dtype=torch.float64)

    scores = [uniform(-4, 4) for _ in range(1 + pairs)]
    if n > 40:  # extremes: nothing may overflow, and nothing that is finite may become nan
        for scale, start in ((1e4, 0), (90, 20)):
            scores[0][start : start + 10], scores[0][start + 10 : start + 20] = scale, -scale
    if entry == "folded":
        a, b = uniform(-0.5, 3), uniform(-3, 3)
        a[1::7], b[2::7] = 0, 0
        b[3::7] = a[3::7]
        columns = [a, b]
    else:
        columns = [uniform(0, 1).round(), uniform(0, 1) < 0.6, uniform(0.001, 1), uniform(0, 0.3)]
        columns += [uniform(0, 0.3)] + [uniform(0, 1)] * imputed
    columns += [uniform(-1, 1)]
    columns = [column[:1] if k in single else column for k, column in enumerate(columns)]
    cast = [x.to(device, x.dtype if x.dtype == torch.bool else dtype) for x in (*scores, *columns)]
    return cast[0], cast[1] if pairs else None, cast[1 + pairs :]


def agree(engine, scores_a, scores_b, columns, form, tolerance):
    """Sums and slopes of an engine equal the reference in float64, on the same numbers."""
    sums, slope = (x.cpu() for x in engine(scores_a, scores_b, columns, *form))
    a, b, *rest = (
        x if x is None or x.dtype == torch.bool else x.double() for x in (scores_a, scores_b, *columns)
    )
    a, rest = a.cpu(), [x.cpu() for x in rest]
    b = None if b is None else b.cpu()
    wanted, slope_wanted = chunked(a, b, rest, *form)
    assert slope.dtype == scores_a.dtype
    assert torch.equal(slope.isnan(), slope_wanted.isnan())
    known = ~slope_wanted.isnan()
    gap = (slope[known].double() - slope_wanted[known]).norm()
    assert gap <= tolerance * slope_wanted[known].norm() + 1e-300, f"slopes differ by {gap:.2e}"
    z = margin(a, b, rest[-1], form.temperature)
    (w, t, *_), _ = enter(rest, form)
    size = reference.LOSSES[form.loss][0](z, w, t).abs().sum().nan_to_num(1)
    scale = torch.cat([size[None], wanted[1:].abs()]).clamp(max=1e300)
    scale[3:6] = 0  # counts are equal
    same = (sums - wanted).abs() <= tolerance * scale
    same |= (sums == wanted) | (sums.isnan() & wanted.isnan())
    assert same.all(), f"{[SUMS[k] for k in (~same).nonzero()]}: {sums} is not {wanted}"


# ------------------------------------------------------------------------------------ against the reference


@every_dtype
@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "single"])
@every_form
def test_interpreted_kernel_equals_the_reference(interpreted, entry, loss, imputed, pairs, dtype):
    form = Form(entry, loss, 0.7, 0.3, 1.3)
    columns = 3 if entry == "folded" else 6 + imputed
    for single in [(), range(columns)[2 if entry == "raw" else 0 :]]:
        scores_a, scores_b, given = rows(BLOCK + 3, dtype, entry, imputed, pairs=pairs, single=single)
        agree(interpreted, scores_a, scores_b, given, form, TOLERANCE[dtype])


@pytest.mark.parametrize("n", [0, 1, 3, 4, 63, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize("form", [FORMS[2], FORMS[6]], ids=[IDS[2], IDS[6]])
def test_interpreted_kernel_works_for_any_number_of_rows(interpreted, form, n):
    entry, loss, imputed = form
    for dtype, single in ((torch.float64, ()), (torch.float32, (1, 4))):
        given = rows(n, dtype, entry, imputed, single=single if n else ())
        agree(interpreted, *given, Form(entry, loss, 2.0, 0.02, 1.0), TOLERANCE[dtype])


def test_each_program_may_work_on_several_tiles(interpreted, tmp_path):
    few = interpreted.mutant(tmp_path, "pairwise.py", "PROGRAMS = 2048", "PROGRAMS = 2")
    given = rows(5 * BLOCK + 7, torch.float64, "raw", True, single=(2, 6))
    agree(few, *given, Form("raw", "brier", 1.0, 0.02, 1.0), 1e-12)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_scores_of_half_precision_are_widened_before_anything_else(interpreted, half):
    scores_a, scores_b, columns = rows(BLOCK + 1, torch.float32, "folded", False)
    scores_a, scores_b = scores_a.clamp(-50, 50).to(half), scores_b.to(half)
    form = Form("folded", "brier", 0.7, 0.02, 1.0)
    agree(interpreted, scores_a, scores_b, columns, form, 4e-3)
    wide, _ = interpreted(scores_a.float(), scores_b.float(), columns, *form)
    assert torch.equal(interpreted(scores_a, scores_b, columns, *form)[0], wide)


@every_dtype
def test_rows_that_cannot_be_are_counted_and_have_no_loss(interpreted, dtype):
    scores_a, scores_b, columns = rows(64, dtype, "raw", True)
    label, observed, propensity, fnr, fpr, imputation, _ = columns
    observed[:12], observed[12:14] = True, False
    nan, inf = float("nan"), float("inf")
    propensity[:4] = torch.tensor([0, -1, 1.5, nan])
    fnr[4], fpr[5] = -0.1, nan
    fnr[6], fpr[6] = 0.5, 0.4
    imputation[7:9] = torch.tensor([1.1, nan])
    label[9:12] = torch.tensor([nan, 2, -inf])
    label[12:14] = torch.tensor([nan, 7])  # not read
    for loss in ("logistic", "brier"):
        form = Form("raw", loss, 1.0, 0.02, 1.0)
        sums, slope = interpreted(scores_a, scores_b, columns, *form)
        assert sums[SUMS.index("invalid")] == 12
        assert sums[0].isnan()
        assert slope.isnan().nonzero().flatten().tolist() == list(range(12))
        agree(interpreted, scores_a, scores_b, columns, form, TOLERANCE[dtype])


def test_scores_that_are_nan_show_in_the_sums(interpreted):
    scores_a, scores_b, columns = rows(BLOCK + 9, torch.float32, "folded", False)
    scores_a[5] = float("nan")
    sums, slope = interpreted(scores_a, scores_b, columns, "folded", "brier", 1.0, 0.02, 1.0)
    assert sums[[0, 6, 7]].isnan().all()
    assert slope.isnan().sum() == 1


@every_dtype
def test_small_losses_and_slopes_keep_their_relative_accuracy(interpreted, dtype):
    z = torch.linspace(-80, 80, 641, dtype=dtype)
    weight = torch.full((1,), 0.7, dtype=dtype)
    tiny = torch.logspace(-20, 1.4, 641, dtype=dtype)
    for loss, a, b in (
        ("logistic", weight, weight),
        ("logistic", weight, 0 * weight),
        ("mixture", weight, tiny),
    ):
        form = Form("folded", loss, 1.0, 0.02, 1.0)
        slope = interpreted(z, None, [a, b, 0 * weight], *form)[1].double()
        wanted = chunked(z.double(), None, [a.double(), b.double(), 0 * weight.double()], *form)[1]
        seen = wanted.abs() > 1e-35
        assert ((slope - wanted)[seen] / wanted[seen]).abs().max() < {
            torch.float64: 1e-12,
            torch.float32: 2e-6,
        }[dtype]


@pytest.mark.parametrize("form", [FORMS[0], FORMS[2], FORMS[4]], ids=[IDS[0], IDS[2], IDS[4]])
def test_gradients_through_autograd_are_those_of_the_reference(interpreted, monkeypatch, form):
    entry, loss, imputed = form
    scores_a, scores_b, columns = rows(BLOCK + 1, torch.float64, entry, imputed)
    public = losses.folded if entry == "folded" else losses.raw
    found = []
    for engine in (chunked, interpreted):
        monkeypatch.setattr(torch.ops.unskew, "loss", engine)
        ahead, behind = scores_a.clone().requires_grad_(), scores_b.clone().requires_grad_()
        options = {"imputation": columns[5]} if imputed else {}
        position = columns[:-1] if entry == "folded" else columns[:5]
        options |= {"m": columns[-1]} if entry == "folded" else {"margin": columns[-1]}
        value, stats = public(ahead, behind, *position, loss=loss, temperature=0.5, normalizer=100, **options)
        (3 * value).backward()
        assert torch.equal(ahead.grad, -behind.grad)
        found.append((value.detach(), ahead.grad, stats.weight, stats.ess))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("form", FORMS[:3], ids=IDS[:3])
def test_swapping_the_pair_flips_the_slopes(interpreted, form):
    _, loss, _ = form
    scores_a, scores_b, (a, b, m) = rows(BLOCK + 1, torch.float64, "folded", False)
    how = ("folded", loss, 0.7, 0.02, 1.0)
    sums, slope = interpreted(scores_a, scores_b, [a, b, m], *how)
    mirrored = [a, -b if loss == "mixture" else a - b, -m]
    other, flipped = interpreted(scores_b, scores_a, mirrored, *how)
    shift = (a * b).sum() if loss == "mixture" else 0  # L(z, d) = L(-z, -d) - d w
    torch.testing.assert_close(flipped, -slope, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(other[0] - shift, sums[0], rtol=1e-12, atol=0)


@every_form
def test_rows_of_weight_zero_change_nothing(interpreted, entry, loss, imputed):
    scores_a, scores_b, columns = rows(100, torch.float64, entry, False)
    form = (entry, loss, 1.0, 0.02, 1.0)
    sums, _ = interpreted(scores_a[:60], scores_b[:60], [x[:60] for x in columns], *form)
    columns[1][60:] = 0  # unobserved
    if entry == "folded":
        columns[0][60:] = 0
    again, slope = interpreted(scores_a, scores_b, columns, *form)
    torch.testing.assert_close(again[:6], sums[:6], rtol=1e-13, atol=0)
    assert (slope[60:] == 0).all()


@pytest.mark.parametrize("form", [FORMS[1], FORMS[6]], ids=[IDS[1], IDS[6]])
def test_slopes_do_not_depend_on_the_order_of_rows(interpreted, form):
    entry, loss, imputed = form
    scores_a, scores_b, columns = rows(BLOCK + 6, torch.float32, entry, imputed)
    how = (entry, loss, 1.0, 0.02, 1.0)
    sums, slope = interpreted(scores_a, scores_b, columns, *how)
    order = torch.randperm(len(scores_a), generator=torch.Generator().manual_seed(1))
    again, moved = interpreted(scores_a[order], scores_b[order], [x[order] for x in columns], *how)
    assert torch.equal(moved, slope[order])
    torch.testing.assert_close(again, sums, rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------ unbiasedness

Z = torch.tensor([-60.0, -3.0, -0.4, 1.1, 25.0], dtype=torch.float64)
# P(observed) in fifths, P(liked) in quarters, fnr and fpr in tenths; imputation
CASES = [(1, 1, 1, 2, 0.7), (2, 3, 3, 0, 0.1), (4, 2, 2, 4, 0.9), (5, 4, 1, 1, 0.5), (3, 0, 0, 3, 0.3)]


def outcomes(fifths, quarters, fnr, fpr):
    """(label, observed), each as often as it happens in 200 logs."""
    table = []
    for liked, observed in product((0, 1), (0, 1)):
        chance = Fraction(fifths if observed else 5 - fifths, 5) * Fraction(
            quarters if liked else 4 - quarters, 4
        )
        flip = Fraction(fnr if liked else fpr, 10)
        table += [(1 - liked, observed)] * int(200 * chance * flip)
        table += [(liked, observed)] * int(200 * chance * (1 - flip))
    assert len(table) == 200
    return torch.tensor(table, dtype=torch.float64).T


def assert_unbiased(engine, loss, estimator, dtype):
    """The mean over all that can be recorded is the clean loss, and the clean slope."""
    value, derivative = reference.LOSSES[loss]
    for fifths, quarters, fnr, fpr, imputation in CASES:
        label, observed = outcomes(fifths, quarters, fnr, fpr)
        p, liked = fifths / 5, torch.tensor(quarters / 4, dtype=torch.float64)
        told = {"propensity": p, "imputation": imputation}
        told |= {"dr, wrong propensity": {"propensity": 0.45, "imputation": float(liked)}}.get(estimator, {})
        numbers = [told["propensity"], fnr / 10, fpr / 10] + [told["imputation"]] * (estimator != "ips")
        scores = Z.repeat_interleave(200).to(dtype)
        columns = [label.repeat(len(Z)).to(dtype), observed.repeat(len(Z)) == 1]
        columns += [torch.tensor([number], dtype=dtype) for number in (*numbers, 0.0)]
        form = Form("raw", loss, 1.0, 0.02, 1.0)
        sums, slope = engine(scores, None, columns, *form)
        wide = [x if x.dtype == torch.bool else x.double() for x in columns]
        (a, b, *_), _ = enter(wide, form)
        z = scores.double()
        size = (b * value(z, a / a.clamp(min=1e-9), 1 + 0 * b)).abs() + (
            (a - b) * value(z, 1 + 0 * b, 0 * b)
        ).abs()
        assert (
            abs(sums[0] / 200 - value(Z, 1 + 0 * Z, liked + 0 * Z).sum()) <= LAW[dtype] * size.sum() / 200
        ), "loss"
        mean = slope.double().reshape(len(Z), 200).mean(1)
        size = slope.double().abs().reshape(len(Z), 200).mean(1)
        clean = derivative(Z, 1 + 0 * Z, liked + 0 * Z)
        assert ((mean - clean).abs() <= LAW[dtype] * size).all(), "slope"


ESTIMATORS = ["ips", "dr", "dr, wrong propensity"]


@every_dtype
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("loss", ["logistic", "brier"])
def test_kernel_is_exactly_unbiased(interpreted, loss, estimator, dtype):
    assert_unbiased(interpreted, loss, estimator, dtype)


MUTANTS = {
    "swapped rates": ("(label - fpr) / (1 - fnr - fpr)\n", "(label - fnr) / (1 - fnr - fpr)\n"),
    "no division by D": ("(label - fpr) / (1 - fnr - fpr)\n", "label - fpr\n"),
    "no weight": (
        "weight = 1 / tl.where(propensity < floor, floor, propensity)",
        "weight = 0 * propensity + 1",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_biased_mutant_is_caught(interpreted, tmp_path, estimator, mutant):
    engine = interpreted.mutant(tmp_path, "_math.py", *MUTANTS[mutant])
    with pytest.raises(AssertionError, match=r"loss|slope"):
        assert_unbiased(engine, "brier", estimator, torch.float64)


@every_dtype
def test_mixture_has_no_slope_at_the_truth(interpreted, dtype):
    """Fisher consistency: over all records the mean slope vanishes where sigmoid(z) = P(liked)."""
    liked = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    given_liked, given_not = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], dtype=torch.float64)
    chance = torch.outer(liked, given_liked) + torch.outer(1 - liked, given_not)
    d = (given_liked / given_not).log().expand(3, 3)
    z = torch.logit(liked)[:, None].expand(3, 3)
    one = torch.ones(1, dtype=dtype)
    flat = [x.flatten().to(dtype).contiguous() for x in (z, d)]
    _, slope = interpreted(flat[0], None, [one, flat[1], 0 * one], "folded", "mixture", 1.0, 0.02, 1.0)
    terms = chance * slope.double().reshape(3, 3)
    assert (terms.sum(1).abs() <= LAW[dtype] * terms.abs().sum(1)).all()


# ------------------------------------------------------------------------------------ ahead of time

BUDGET = (
    json.loads((KERNELS / "budget.json").read_text("utf-8")) if (KERNELS / "budget.json").is_file() else {}
)
ARCHES = (80, 90, 100)


def compiled(entry, loss, imputed, *, pairs, dtype, aligned, arch, n=64):
    """What the launcher would run: the kernel and the total."""
    scores_a, scores_b, columns = rows(n + 16, dtype, entry, imputed, pairs=pairs)
    start = 0 if aligned else 1
    cut = [x if x is None else x[start : start + n] for x in (scores_a, scores_b, *columns)]
    with ahead_of_time(pairwise, arch) as made:
        pairwise.launch(cut[0], cut[1], cut[2:], entry, loss, 1.0, 0.02, 1.0)
    return made


def variant(entry, loss, imputed, pairs, dtype, aligned):
    words = [entry, loss, "imputed" * imputed, "pairs" if pairs else "single", str(dtype)[6:]]
    return " ".join(filter(None, [*words, "aligned" if aligned else "unaligned"]))


def quick(entry, loss, imputed, pairs, dtype, aligned, arch):
    """Every form once, and the largest for each architecture, alignment and dtype; the rest is slow."""
    usual = (pairs, dtype, aligned, arch) == (True, torch.float32, True, 90)
    largest = (entry, loss, imputed, pairs) == ("raw", "logistic", True, True)
    odd = (dtype == torch.float64) + (not aligned) + (arch != 90)
    return usual or (largest and odd == 1)


VARIANTS = [
    pytest.param(*form, pairs, dtype, aligned, arch, marks=[] if fast else pytest.mark.slow)
    for form, pairs, dtype, aligned, arch in product(
        FORMS, (True, False), (torch.float32, torch.float64), (True, False), ARCHES
    )
    for fast in [quick(*form, pairs, dtype, aligned, arch)]
]


def needs_tools(arch):
    for tool in ("cuobjdump", "ptxas-blackwell" if arch >= 100 else "ptxas"):
        if nvidia_tool(tool) is None:
            pytest.skip(f"triton brings no {tool} here, so a cubin cannot be made or read")


def check_budget(name, arch, found):
    budget = BUDGET[name]
    assert found.registers <= budget["registers"][str(arch)], f"{name}: {found}"
    assert found.stack <= budget["stack"], f"{name}: {found}"
    assert found.share >= Fraction(str(budget["wide_loads"])), f"{name}: {found}"


@pytest.mark.parametrize(("entry", "loss", "imputed", "pairs", "dtype", "aligned", "arch"), VARIANTS)
def test_compiled_kernel_keeps_its_budget(tmp_path, entry, loss, imputed, pairs, dtype, aligned, arch):
    needs_tools(arch)
    made, _ = compiled(entry, loss, imputed, pairs=pairs, dtype=dtype, aligned=aligned, arch=arch)
    found = resources(made.asm["cubin"], tmp_path)
    check_budget(variant(entry, loss, imputed, pairs, dtype, aligned), arch, found)
    floats = 1 + pairs + (3 if entry == "folded" else 5 + imputed)  # `observed` is narrower than 128 bits
    assert found.wide == (floats * dtype.itemsize // 4 if aligned else 0), (
        "one wide load per 4 rows of a column"
    )


SLOW_ARCHES = [pytest.param(arch, marks=[] if arch == 90 else pytest.mark.slow) for arch in ARCHES]


@pytest.mark.parametrize("arch", SLOW_ARCHES)
def test_compiled_total_keeps_its_budget(tmp_path, arch):
    needs_tools(arch)
    _, made = compiled(*FORMS[1], pairs=True, dtype=torch.float32, aligned=True, arch=arch)
    check_budget("total", arch, resources(made.asm["cubin"], tmp_path))


def test_one_compiled_kernel_serves_any_number_of_rows():
    needs_tools(90)
    variants = set()
    for n in (1, 5, 16, BLOCK, 3 * BLOCK + 1):
        made = compiled(*FORMS[1], pairs=True, dtype=torch.float32, aligned=True, arch=90, n=n)
        variants.add(tuple(each.hash for each in made))
    assert len(variants) == 1


# ------------------------------------------------------------------------------------ dispatch


def test_constants_are_those_of_the_reference():
    assert len(SUMS) == pairwise.SUMS
    assert _math.MIN_D.value == reference.MIN_D


def test_cuda_tensors_go_to_the_kernel():
    assert torch._C._dispatch_has_kernel_for_dispatch_key("unskew::loss", "CUDA")
    assert op._cuda_engine() is pairwise.launch


def test_cuda_without_triton_takes_the_torch_engine(monkeypatch):
    monkeypatch.setattr(op, "find_spec", lambda name: None)
    op._cuda_engine.cache_clear()
    try:
        assert op._cuda_engine() is chunked
    finally:
        op._cuda_engine.cache_clear()


# ------------------------------------------------------------------------------------ on a device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_dtype
@every_form
def test_kernel_on_a_device_equals_the_reference(entry, loss, imputed, dtype):
    form = Form(entry, loss, 0.7, 0.02, 1.3)
    # the device's exponential is good to about 2e-6 in float32 where |z| is large
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-6}[dtype]
    for n in (0, 1, 63, BLOCK + 1, 100_003, 5_000_001):
        scores_a, scores_b, columns = rows(n + 1, dtype, entry, imputed, device="cuda")
        for start in (0, 1):
            cut = [x[start : start + n] for x in (scores_a, scores_b, *columns)]
            agree(torch.ops.unskew.loss, cut[0], cut[1], cut[2:], form, tolerance)
        first = torch.ops.unskew.loss(scores_a, scores_b, columns, *form)
        for _ in range(10):
            again = torch.ops.unskew.loss(scores_a, scores_b, columns, *form)
            assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
