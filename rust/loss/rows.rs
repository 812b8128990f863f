//! Losses, their slopes and their targets, for a few rows at a time: `losses/reference.py` line by line.

use super::math::{Curve, Real, expm1, positive, size};

/// Rows in a vector; copying them into arrays of known length is what lets the compiler see one.
pub const LANES: usize = 16;

/// Rates with D = 1 - fnr - fpr at or below this are refused.
const MIN_D: f64 = 0.2;

/// One number for each lane.
pub type Lanes<T> = [T; LANES];

/// What the columns of a few rows amount to; the last three are 0 or 1.
pub struct Entered<T> {
    pub a: Lanes<T>,
    pub b: Lanes<T>,
    pub weight: Lanes<T>,
    pub clipped: Lanes<T>,
    pub invalid: Lanes<T>,
}

/// `count` entries of a column from `start` on, or its only entry.
#[inline(always)]
#[allow(clippy::indexing_slicing)]
pub fn lanes<T: Copy>(column: &[T], start: usize, count: usize, nothing: T) -> Lanes<T> {
    let mut found = [nothing; LANES];
    if let [only] = column {
        found = [*only; LANES];
    } else {
        found[..count].copy_from_slice(&column[start..start + count]);
    }
    found
}

/// Columns that give a few rows their a and b.
pub trait Enter<T> {
    fn enter(&self, start: usize, count: usize) -> Entered<T>;
}

/// Columns that an estimator has made.
#[derive(Clone, Copy, Debug)]
pub struct Folded<'a, T> {
    /// Weight, or w of the mixture.
    pub a: &'a [T],
    /// Weight times target, or d of the mixture.
    pub b: &'a [T],
}

impl<T: Real> Enter<T> for Folded<'_, T> {
    #[inline(always)]
    fn enter(&self, start: usize, count: usize) -> Entered<T> {
        let a = lanes(self.a, start, count, T::ZERO);
        Entered {
            a,
            b: lanes(self.b, start, count, T::ZERO),
            weight: a,
            clipped: [T::ZERO; LANES],
            invalid: [T::ZERO; LANES],
        }
    }
}

/// What was recorded, with its nuisances.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a, T> {
    /// Recorded label, read where observed.
    pub label: &'a [T],
    /// Whether there was feedback: not 0.
    pub observed: &'a [u8],
    /// P(observed).
    pub propensity: &'a [T],
    /// P(recorded 0 | true 1).
    pub fnr: &'a [T],
    /// P(recorded 1 | true 0).
    pub fpr: &'a [T],
    /// P(true label = 1), which makes the columns doubly robust.
    pub imputation: Option<&'a [T]>,
    /// Smaller propensities are raised to it.
    pub floor: T,
}

impl<T: Real> Enter<T> for Raw<'_, T> {
    #[inline(always)]
    #[allow(clippy::indexing_slicing)]
    fn enter(&self, start: usize, count: usize) -> Entered<T> {
        let label = lanes(self.label, start, count, T::ZERO);
        let observed = lanes(self.observed, start, count, 0);
        let propensity = lanes(self.propensity, start, count, T::ZERO);
        let fnr = lanes(self.fnr, start, count, T::ZERO);
        let fpr = lanes(self.fpr, start, count, T::ZERO);
        let imputation = match self.imputation {
            Some(column) => lanes(column, start, count, T::ZERO),
            None => [T::ZERO; LANES],
        };
        let mut found = Entered {
            a: [T::ZERO; LANES],
            b: [T::ZERO; LANES],
            weight: [T::ZERO; LANES],
            clipped: [T::ZERO; LANES],
            invalid: [T::ZERO; LANES],
        };
        let robust = self.imputation.is_some();
        for i in 0..LANES {
            let seen = observed[i] != 0;
            let d = T::ONE - fnr[i] - fpr[i];
            let rare = propensity[i] < self.floor;
            let used = if rare { self.floor } else { propensity[i] };
            let weight = if seen { T::ONE } else { T::ZERO } / used;
            let corrected = if seen {
                (label[i] - fpr[i]) / d
            } else {
                T::ZERO
            };
            // without an imputation it is 0 here, and the two columns have one formula
            let b = imputation[i] + weight * (corrected - imputation[i]);
            let valid = (propensity[i] > T::ZERO)
                & (propensity[i] <= T::ONE)
                & (fnr[i] >= T::ZERO)
                & (fpr[i] >= T::ZERO)
                & (d > T::of(MIN_D))
                & (!seen | (label[i] >= T::ZERO) & (label[i] <= T::ONE))
                & (imputation[i] >= T::ZERO)
                & (imputation[i] <= T::ONE);
            found.a[i] = if robust { T::ONE } else { weight };
            found.b[i] = if valid { b } else { T::NAN };
            found.weight[i] = weight;
            found.clipped[i] = if seen & rare { T::ONE } else { T::ZERO };
            found.invalid[i] = if valid { T::ZERO } else { T::ONE };
        }
        found
    }
}

/// A loss: its value and its derivative in z, at z and the two columns.
pub trait Formula {
    /// Whether b belongs in [0, a].
    const BOUNDED: bool;

    fn at<T: Real>(z: T, a: T, b: T) -> (T, T);
}

/// b softplus(-z) + (a - b) softplus(z)
pub struct Logistic;

impl Formula for Logistic {
    const BOUNDED: bool = true;

    #[inline(always)]
    fn at<T: Real>(z: T, a: T, b: T) -> (T, T) {
        let at = Curve::at(z);
        let rest = a - b;
        let value = b * (positive(-z) + at.rest) + rest * (positive(z) + at.rest);
        (value, rest * at.up - b * at.down)
    }
}

/// b sigmoid(-z)^2 + (a - b) sigmoid(z)^2
pub struct Brier;

impl Formula for Brier {
    const BOUNDED: bool = true;

    #[inline(always)]
    fn at<T: Real>(z: T, a: T, b: T) -> (T, T) {
        let Curve { up, down, .. } = Curve::at(z);
        let (yes, no) = (b * down, (a - b) * up);
        (yes * down + no * up, (up + up) * down * (no - yes))
    }
}

/// w (softplus(z) - softplus(z + d)), mirrored to the side where no softplus is larger than |d|.
pub struct Mixture;

impl Formula for Mixture {
    const BOUNDED: bool = false;

    #[inline(always)]
    fn at<T: Real>(z: T, w: T, d: T) -> (T, T) {
        let past = z + d;
        let (here, there) = (Curve::at(z), Curve::at(past));
        let mirrored = z + d / (T::ONE + T::ONE) > T::ZERO;
        let sign = if mirrored { -T::ONE } else { T::ONE };
        let (near, far) = (
            positive(sign * z) + here.rest,
            positive(sign * past) + there.rest,
        );
        let value = w * (near - far - if mirrored { d } else { T::ZERO });
        let rises = d > T::ZERO;
        let gap = expm1(-size(d));
        let gap = if rises { gap } else { -gap };
        let up = if rises { there.up } else { here.up };
        let down = if rises { here.down } else { there.down };
        (value, w * gap * up * down)
    }
}
