"""Loss of pairs or single responses, its slope and its counts, in one pass over the rows.

With z = temperature (r_A - r_B) - m, or temperature r - m, s = sigmoid(z) and c = sigmoid(-z),

    logistic   L = b softplus(-z) + (a - b) softplus(z)     dL/dz = (a - b) s - b c
    Brier      L = b c^2 + (a - b) s^2                      dL/dz = 2 s c ((a - b) s - b c)
    mixture    L = w (softplus(z) - softplus(z + d))        dL/dz = w (s - sigmoid(z + d))

where a and b (w and d) are read (`folded`), or formed in registers from what was recorded (`raw`):

    t = (label - fpr) / (1 - fnr - fpr),    weight = observed / max(propensity, floor)
    inverse propensity    a = weight,    b = weight t
    doubly robust         a = 1,         b = imputation + weight (t - imputation)

`launch` is an engine of `unskew.losses`: it trusts its arguments and returns the sums and the slopes
scale temperature dL/dz. Each program sums its tiles in order and a second kernel sums the programs, so the
result depends on the number of rows only: not on the device, not on the run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._math import brier, extremes, impossible, logistic, mixture, weight_and_target

BLOCK = 1024  # rows of a tile: with 8 warps each thread owns 4, one 128-bit load per float32 column
PROGRAMS = 2048  # at most: enough to fill the devices we know, few enough for one program to sum
SUMS = 8  # loss, weight, weight squared, clipped, outside, invalid, smallest z, largest z
OPTIONS = {"num_warps": 8, "enable_fp_fusion": True}

FOLDED = ("a", "b", "margin")
RAW = ("label", "observed", "propensity", "fnr", "fpr", "imputation", "margin")
COLUMNS = ("a", "b", *RAW)  # bit k of `every` speaks of column k

UNSPECIALIZED = ("n", "every", "programs")
POINTERS = tuple(f"{name}_ptr" for name in ("scores_a", "scores_b", *COLUMNS, "slope", "partials"))


@triton.jit
def _at(ptr, rows, ALIGNED: tl.constexpr):
    """Pointers to rows; `ALIGNED` promises that `ptr` is a multiple of 16 bytes."""
    return tl.multiple_of(ptr + rows, 16) if ALIGNED else ptr + rows


@triton.jit
def _column(ptr, rows, inside, every, bit: tl.constexpr, ALIGNED: tl.constexpr):
    """Entries of a column that has one for each row, or one for all."""
    # a mask that is the same in all lanes leaves the vector load whole, where a stride of 0 would not
    each = (every >> bit) & 1
    mask = inside & (tl.full(rows.shape, 0, tl.int32) + each == 1)
    many, one = tl.load(_at(ptr, rows, ALIGNED), mask=mask, other=0), tl.load(ptr, mask=each == 0, other=0)
    return tl.where(each == 1, many, one)


@triton.jit(do_not_specialize=UNSPECIALIZED, do_not_specialize_on_alignment=POINTERS)
def _pairwise_kernel(
    scores_a_ptr,  # [N]
    scores_b_ptr,  # [N]; None for single responses
    a_ptr,  # [N] or [1], w of the mixture; None in the raw entry
    b_ptr,  # [N] or [1], d of the mixture; None in the raw entry
    label_ptr,  # [N] or [1]; None in the folded entry, as are the next five
    observed_ptr,  # [N] or [1], bool
    propensity_ptr,  # [N] or [1]
    fnr_ptr,  # [N] or [1]
    fpr_ptr,  # [N] or [1]
    imputation_ptr,  # [N] or [1]; None for inverse propensity
    margin_ptr,  # [N] or [1]
    slope_ptr,  # [N], written
    partials_ptr,  # [SUMS, programs] float64, written
    n: tl.int64,  # N
    every: tl.int32,  # bit k is set when column k of `COLUMNS` has an entry for each row
    temperature: tl.float64,
    floor: tl.float64,
    scale: tl.float64,
    LOSS: tl.constexpr,
    DTYPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pid, programs = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    temperature, floor = tl.full([], temperature, DTYPE), tl.full([], floor, DTYPE)
    factor = tl.full([], scale, DTYPE) * temperature
    none, zero = tl.full([], 0, tl.int32), tl.full([], 0, tl.float64)
    total, weights, squares, clips, outsides, invalids = zero, zero, zero, none, none, none
    z_min, z_max = tl.full([], float("inf"), DTYPE), tl.full([], float("-inf"), DTYPE)
    # a mask must agree within 4 rows, or each load becomes 4: the last n % 4 rows are a tile of their own
    whole = n // 4 * 4
    for tail in tl.static_range(2):
        stop = ((pid == 0) & (whole < n)).to(tl.int64) if tail else tl.cdiv(whole, BLOCK)
        for tile in range(pid, stop, programs):
            rows = (whole if tail else tile * BLOCK) + tl.arange(0, 4 if tail else BLOCK)
            inside = rows < (n if tail else whole)
            z = tl.load(_at(scores_a_ptr, rows, ALIGNED), mask=inside, other=0).to(DTYPE)
            if scores_b_ptr is not None:
                z -= tl.load(_at(scores_b_ptr, rows, ALIGNED), mask=inside, other=0).to(DTYPE)
            z = temperature * z - _column(margin_ptr, rows, inside, every, 8, ALIGNED).to(DTYPE)
            no = rows != rows
            if label_ptr is None:
                a = _column(a_ptr, rows, inside, every, 0, ALIGNED).to(DTYPE)
                b = _column(b_ptr, rows, inside, every, 1, ALIGNED).to(DTYPE)
                weight, clipped, invalid = a, no, no
            else:
                label = _column(label_ptr, rows, inside, every, 2, ALIGNED).to(DTYPE)
                observed = _column(observed_ptr, rows, inside, every, 3, ALIGNED) != 0
                propensity = _column(propensity_ptr, rows, inside, every, 4, ALIGNED).to(DTYPE)
                fnr = _column(fnr_ptr, rows, inside, every, 5, ALIGNED).to(DTYPE)
                fpr = _column(fpr_ptr, rows, inside, every, 6, ALIGNED).to(DTYPE)
                weight, target = weight_and_target(label, observed, propensity, fnr, fpr, floor)
                clipped = observed & (propensity < floor)
                invalid = impossible(label, observed, propensity, fnr, fpr)
                if imputation_ptr is None:
                    a, b = weight, weight * target
                else:
                    imputation = _column(imputation_ptr, rows, inside, every, 7, ALIGNED).to(DTYPE)
                    a, b = tl.full(z.shape, 1, DTYPE), imputation + weight * (target - imputation)
                    invalid = invalid | ((imputation >= 0) & (imputation <= 1) == 0)
                b = tl.where(invalid, float("nan"), b)
            outside = (b < 0) | (b > a)
            if LOSS == "logistic":
                loss, slope = logistic(z, a, b)
            elif LOSS == "brier":
                loss, slope = brier(z, a, b)
            else:
                loss, slope = mixture(z, a, b)
                outside = no
            slope = (factor * slope).to(slope_ptr.dtype.element_ty)
            tl.store(_at(slope_ptr, rows, ALIGNED), slope, mask=inside)
            weight = tl.where(inside, weight, 0).to(tl.float64)
            total += tl.sum(tl.where(inside, loss, 0).to(tl.float64))
            weights += tl.sum(weight)
            squares += tl.sum(weight * weight)
            clips += tl.sum((clipped & inside).to(tl.int32))
            outsides += tl.sum((outside & inside).to(tl.int32))
            invalids += tl.sum((invalid & inside).to(tl.int32))
            low, high = extremes(z, inside)
            z_min = tl.minimum(z_min, low, propagate_nan=tl.PropagateNan.ALL)
            z_max = tl.maximum(z_max, high, propagate_nan=tl.PropagateNan.ALL)
    mine = partials_ptr + pid
    tl.store(mine, total)
    tl.store(mine + programs, weights)
    tl.store(mine + 2 * programs, squares)
    tl.store(mine + 3 * programs, clips)
    tl.store(mine + 4 * programs, outsides)
    tl.store(mine + 5 * programs, invalids)
    tl.store(mine + 6 * programs, z_min)
    tl.store(mine + 7 * programs, z_max)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def _total_kernel(
    partials_ptr,  # [SUMS, programs] float64
    sums_ptr,  # [SUMS] float64, written
    programs: tl.int32,
    LIMIT: tl.constexpr,
):
    which = tl.arange(0, LIMIT)
    there = which < programs
    for k in tl.static_range(8):
        part = tl.load(partials_ptr + k * programs + which, mask=there, other=0)
        if k < 6:
            tl.store(sums_ptr + k, tl.sum(part))
        else:
            low, high = extremes(part, there)
            tl.store(sums_ptr + k, low if k == 6 else high)


def launch(
    scores_a: Tensor,
    scores_b: Tensor | None,
    columns: list[Tensor],
    entry: str,
    loss: str,
    temperature: float,
    floor: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Sums [8] in float64 and slopes [N] of rows, without waiting for the device.

    Args:
        scores_a: rewards of the responses, or of slot A. Shape [N].
        scores_b: rewards of slot B; None for single responses. Shape [N].
        columns: a, b, m (w, d, m), or label, observed, propensity, fnr, fpr, perhaps imputation, m. Each of
            shape [N], or [1] for all rows.
        entry: `folded` or `raw`.
        loss: `logistic`, `brier` or `mixture`.
        temperature: factor on the score (difference).
        floor: smaller propensities are raised to it.
        scale: factor on the slopes.
    """
    names = FOLDED if entry == "folded" else RAW if len(columns) == len(RAW) else (*RAW[:5], RAW[6])
    given = dict(zip(names, columns, strict=True))
    n = len(scores_a)
    programs = max(1, min(triton.cdiv(n, BLOCK), PROGRAMS))
    slope = torch.empty_like(scores_a)
    partials = torch.empty(SUMS, programs, dtype=torch.float64, device=scores_a.device)
    sums = torch.empty(SUMS, dtype=torch.float64, device=scores_a.device)
    vectors = [x for x in (scores_a, scores_b, slope, *columns) if x is not None and len(x) == n]
    with torch.cuda.device_of(scores_a):
        _pairwise_kernel[(programs,)](
            scores_a,
            scores_b,
            *(given.get(name) for name in COLUMNS),
            slope,
            partials,
            n,
            sum(1 << bit for bit, name in enumerate(COLUMNS) if name in given and len(given[name]) == n),
            temperature,
            floor,
            scale,
            LOSS=loss,
            DTYPE=tl.float64 if scores_a.dtype == torch.float64 else tl.float32,
            ALIGNED=all(x.data_ptr() % 16 == 0 for x in vectors),
            BLOCK=BLOCK,
            **OPTIONS,
        )
        _total_kernel[(1,)](partials, sums, programs, LIMIT=PROGRAMS, **OPTIONS)
    return sums, slope
