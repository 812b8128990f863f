//! exp, log1p and the sigmoid without calls or branches, so that loops over lanes become vector code.
//!
//! With x = n log 2 + r, |r| <= log(2) / 2, e^x = 2^n e^r, and e^r is its Taylor series. With s = e / (2 + e),
//! log(1 + e) = 2 atanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...). Both series end where a term no longer
//! changes the result.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Real:
    Copy
    + Send
    + Sync
    + PartialOrd
    + Into<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Not a number.
    const NAN: Self;
    /// Infinity.
    const INFINITY: Self;

    /// The nearest number of this type.
    fn of(number: f64) -> Self;

    /// (2^n, e^r - 1) with x = n log 2 + r, for x <= 0; 2^n is 0 where it would be subnormal.
    fn reduced(x: Self) -> (Self, Self);

    /// Sum of terms x^k, the even and the odd powers apart: neither waits for the other.
    fn series<const N: usize>(x: Self, terms: [f64; N]) -> Self;

    /// log(1 + e) for e in [0, 1].
    fn log1p(e: Self) -> Self;
}

/// 1 / (k + 2)!
#[allow(clippy::indexing_slicing)]
const fn taylor<const N: usize>() -> [f64; N] {
    let (mut found, mut k, mut factorial) = ([0.0; N], 0, 1.0);
    while k < N {
        factorial *= k as f64 + 2.0;
        found[k] = 1.0 / factorial;
        k += 1;
    }
    found
}

/// 1 / (2 k + 3)
#[allow(clippy::indexing_slicing)]
const fn atanh<const N: usize>() -> [f64; N] {
    let (mut found, mut k) = ([0.0; N], 0);
    while k < N {
        found[k] = 1.0 / (2.0 * k as f64 + 3.0);
        k += 1;
    }
    found
}

macro_rules! real {
    ($float:ty, $uint:ty, mantissa: $mantissa:expr, bias: $bias:expr, log2: $high:expr, $low:expr,
     taylor: $taylor:expr, atanh: $atanh:expr) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAN: Self = <$float>::NAN;
            const INFINITY: Self = <$float>::INFINITY;

            #[inline(always)]
            fn of(number: f64) -> Self {
                number as Self
            }

            #[inline(always)]
            fn reduced(x: Self) -> (Self, Self) {
                // adding 3/2 2^mantissa leaves the nearest integer in the low bits
                const ROUND: $float = 1.5 * ((1 as $uint) << $mantissa) as $float;
                const LEAST: $float = (1.0 - $bias as $float) * std::f64::consts::LN_2 as $float;
                let shifted = x * std::f64::consts::LOG2_E as $float + ROUND;
                let n = shifted - ROUND;
                let r = (x - n * $high) - n * $low;
                let sum = Self::series(r, const { taylor::<$taylor>() });
                let power = shifted.to_bits().wrapping_add($bias) << $mantissa;
                let vanishes = x < LEAST;
                (
                    if vanishes {
                        0.0
                    } else {
                        <$float>::from_bits(power)
                    },
                    if vanishes { 0.0 } else { r + r * r * sum },
                )
            }

            #[inline(always)]
            fn series<const N: usize>(x: Self, terms: [f64; N]) -> Self {
                let (square, mut even, mut odd) = (x * x, 0.0, 0.0);
                for (power, term) in terms.iter().enumerate().rev() {
                    let sum = if power % 2 == 0 { &mut even } else { &mut odd };
                    *sum = *sum * square + *term as $float;
                }
                even + x * odd
            }

            #[inline(always)]
            fn log1p(e: Self) -> Self {
                let s = e / (2.0 + e);
                let square = s * s;
                let sum = Self::series(square, const { atanh::<$atanh>() });
                let twice = s + s;
                twice + twice * square * sum
            }
        }
    };
}

real!(f32, u32, mantissa: 23, bias: 127, log2: 0.693_359_4, -2.121_944_4e-4, taylor: 6, atanh: 6);
real!(f64, u64, mantissa: 52, bias: 1023, log2: 0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10,
      taylor: 13, atanh: 15);

/// The smaller of two, or nan if one is.
#[inline(always)]
pub fn least<T: Real>(left: T, right: T) -> T {
    #[allow(clippy::eq_op)] // only nan differs from itself
    if right < left || right != right {
        right
    } else {
        left
    }
}

/// e^x for x <= 0.
#[inline(always)]
pub fn exp<T: Real>(x: T) -> T {
    let (power, rest) = T::reduced(x);
    power + power * rest
}

/// e^x - 1 for x <= 0.
#[inline(always)]
pub fn expm1<T: Real>(x: T) -> T {
    let (power, rest) = T::reduced(x);
    power * rest + (power - T::ONE)
}

/// max(x, 0)
#[inline(always)]
pub fn positive<T: Real>(x: T) -> T {
    if x > T::ZERO { x } else { T::ZERO }
}

/// |x|
#[inline(always)]
pub fn size<T: Real>(x: T) -> T {
    if x < T::ZERO { -x } else { x }
}

/// What the losses read of a number z.
pub struct Curve<T> {
    /// sigmoid(z)
    pub up: T,
    /// sigmoid(-z)
    pub down: T,
    /// softplus(-|z|)
    pub rest: T,
}

impl<T: Real> Curve<T> {
    /// At z.
    #[inline(always)]
    pub fn at(z: T) -> Self {
        let e = exp(-size(z));
        let large = T::ONE / (T::ONE + e);
        let small = e * large;
        let above = z > T::ZERO;
        Self {
            up: if above { large } else { small },
            down: if above { small } else { large },
            rest: T::log1p(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst<T: Real>(
        ours: impl Fn(T) -> T,
        theirs: impl Fn(f64) -> f64,
        from: f64,
        to: f64,
    ) -> f64 {
        (0..100_000).fold(0.0, |worst: f64, i| {
            let x = T::of(from + (to - from) * f64::from(i) / 100_000.0);
            let (found, wanted): (f64, f64) = (ours(x).into(), theirs(x.into()));
            worst.max((found / wanted - 1.0).abs())
        })
    }

    #[test]
    fn exp_expm1_and_log1p_are_right_to_the_last_bits() {
        assert!(worst::<f32>(exp, f64::exp, -87.0, 0.0) < 1.5e-7);
        assert!(worst::<f64>(exp, f64::exp, -708.0, 0.0) < 4e-16);
        assert!(worst::<f32>(expm1, f64::exp_m1, -20.0, -1e-7) < 2e-7);
        assert!(worst::<f64>(expm1, f64::exp_m1, -40.0, -1e-9) < 4e-16);
        assert!(worst::<f32>(Real::log1p, f64::ln_1p, 1e-9, 1.0) < 2.5e-7);
        assert!(worst::<f64>(Real::log1p, f64::ln_1p, 1e-9, 1.0) < 5e-16);
    }

    #[test]
    fn extremes_are_exact() {
        for x in [-1e4, f64::NEG_INFINITY] {
            assert_eq!((exp(x), expm1(x)), (0.0, -1.0));
            assert_eq!((exp(x as f32), expm1(x as f32)), (0.0, -1.0));
        }
        assert_eq!((exp(0.0), expm1(0.0), f64::log1p(0.0)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(f64::NAN).is_nan() && expm1(f64::NAN).is_nan());
        assert!(least(f64::NAN, 0.0).is_nan() && least(0.0, f64::NAN).is_nan());
    }

    #[test]
    fn sigmoids_of_opposite_numbers_mirror_each_other() {
        for z in [0.0, 1e-300, 0.3, 40.0, 1e4] {
            let (here, there) = (Curve::at(z), Curve::at(-z));
            assert_eq!(
                (here.up, here.down, here.rest),
                (there.down, there.up, there.rest)
            );
        }
    }
}
