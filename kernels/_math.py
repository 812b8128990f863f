"""Device functions that kernels share: sigmoid and softplus, the raw target, reductions over a block.

With e = exp(-|z|), which cannot overflow,

    sigmoid(|z|) = 1 / (1 + e)    sigmoid(-|z|) = e / (1 + e)    softplus(z) = max(z, 0) + log1p(e)

log1p and expm1 are series: they keep the relative accuracy of small values, in float32 and in float64.
"""

import triton
import triton.language as tl

MIN_D: tl.constexpr = tl.constexpr(0.2)
"""Rates with D = 1 - fnr - fpr at or below this are refused."""


@triton.jit
def sigmoids(z):
    """sigmoid(z) and sigmoid(-z)."""
    e = tl.exp(-tl.abs(z))
    large = 1 / (1 + e)
    small = e * large
    return tl.where(z >= 0, large, small), tl.where(z >= 0, small, large)


@triton.jit
def log1p_exp(z):
    """log(1 + exp(-|z|)) = 2 artanh(x) with x = e / (2 + e) <= 1 / 3."""
    terms: tl.constexpr = 17 if z.dtype == tl.float64 else 8
    e = tl.exp(-tl.abs(z))
    x = e / (2 + e)
    series = tl.full(x.shape, 0, x.dtype)
    for k in tl.static_range(terms):
        series = series * x * x + 1 / (2 * (terms - k) - 1)
    return 2 * x * series


@triton.jit
def one_minus_exp(x):
    """1 - exp(-x) for x >= 0; below 1 / 2 it is x (1 - x/2 (1 - x/3 (1 - ...)))."""
    terms: tl.constexpr = 17 if x.dtype == tl.float64 else 8
    series = tl.full(x.shape, 1, x.dtype)
    for k in tl.static_range(terms):
        series = 1 - series * x * (1 / (terms + 1 - k))
    return tl.where(x < 0.5, x * series, 1 - tl.exp(-x))


@triton.jit
def logistic(z, a, b):
    """b softplus(-z) + (a - b) softplus(z), and (a - b) s - b c."""
    s, c = sigmoids(z)
    rest = log1p_exp(z)
    value = b * (tl.maximum(-z, 0) + rest) + (a - b) * (tl.maximum(z, 0) + rest)
    return value, (a - b) * s - b * c


@triton.jit
def brier(z, a, b):
    """b c^2 + (a - b) s^2, and 2 s c ((a - b) s - b c)."""
    s, c = sigmoids(z)
    return b * c * c + (a - b) * s * s, 2 * s * c * ((a - b) * s - b * c)


@triton.jit
def mixture(z, w, d):
    """w (softplus(z) - softplus(z + d)), and w (s - sigmoid(z + d)): nothing cancels in either."""
    # L(z, d) = L(-z, -d) - d: on the side where z + d / 2 <= 0 no softplus is larger than |d|
    mirrored = z + d / 2 > 0
    near, far = tl.where(mirrored, -z, z), tl.where(mirrored, -z - d, z + d)
    value = tl.maximum(near, 0) + log1p_exp(near) - tl.maximum(far, 0) - log1p_exp(far)
    gap = tl.where(d > 0, -1, 1) * one_minus_exp(tl.abs(d))
    above, _ = sigmoids(z + tl.maximum(d, 0))
    _, below = sigmoids(z + tl.minimum(d, 0))
    return w * (value - tl.where(mirrored, d, 0)), w * gap * above * below


@triton.jit
def weight_and_target(label, observed, propensity, fnr, fpr, floor):
    """observed / max(propensity, floor), and (label - fpr) / (1 - fnr - fpr) where observed, else 0."""
    weight = 1 / tl.where(propensity < floor, floor, propensity)
    target = (label - fpr) / (1 - fnr - fpr)
    return tl.where(observed, weight, 0), tl.where(observed, target, 0)


@triton.jit
def impossible(label, observed, propensity, fnr, fpr):
    """Where the raw columns cannot be what they say they are; nan never can."""
    chance = (propensity > 0) & (propensity <= 1)
    rates = (fnr >= 0) & (fpr >= 0) & (1 - fnr - fpr > MIN_D)
    said = (label >= 0) & (label <= 1) | (observed == 0)
    return (chance & rates & said) == 0


@triton.jit
def extremes(x, inside):
    """Minimum and maximum of the entries inside; nan when one of them is, which `tl.min` would pass over."""
    lost = tl.max((inside & (x != x)).to(tl.int32)) > 0
    low, high = tl.min(tl.where(inside, x, float("inf"))), tl.max(tl.where(inside, x, float("-inf")))
    return tl.where(lost, float("nan"), low), tl.where(lost, float("nan"), high)
