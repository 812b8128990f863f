//! The CPU twin of `unskew.losses`: loss, slope and counts of rows in one pass.
//!
//! ```
//! use unskew::loss::{Entry, Folded, Form, Loss, Rows, loss};
//!
//! let rows = Rows {
//!     ahead: &[0.0_f64, 1.0],
//!     behind: None,
//!     entry: Entry::Folded(Folded { a: &[1.0], b: &[1.0, 0.0] }),
//!     margin: &[0.0],
//! };
//! let form = Form { loss: Loss::Brier, temperature: 1.0, scale: 1.0 };
//! let mut slope = [0.0; 2];
//! let sums = loss(&rows, &form, 1, &mut slope)?;
//! assert_eq!(sums.weight, 2.0);
//! # Ok::<(), unskew::error::Error>(())
//! ```
//!
//! The formulas are in `rows`, exp and log1p in `math`. Only IEEE additions, products and quotients are used,
//! never a fused one, and sums run over fixed lanes and blocks: the bits depend on neither the number of
//! threads nor the processor.

mod math;
mod rows;

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};
use crate::unchecked;
pub use math::Real;
use rows::{Brier, Enter, Entered, Formula, LANES, Lanes, Logistic, Mixture, lanes};
pub use rows::{Folded, Raw};

/// Rows summed on their own before the sums are added up in order.
pub const BLOCK: usize = 32_768;

/// Which loss of z, a and b (or z, w and d).
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// a softplus(z) - b z
    Logistic,
    /// a s^2 - 2 b s + b, s = sigmoid(z)
    Brier,
    /// w (softplus(z) - softplus(z + d))
    Mixture,
}

impl Loss {
    /// The loss with this name in Python.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "logistic" => Ok(Self::Logistic),
            "brier" => Ok(Self::Brier),
            "mixture" => Ok(Self::Mixture),
            _ => Err(Error::Value(format!(
                "loss is '{name}'; it must be one of logistic, brier, mixture"
            ))),
        }
    }
}

/// What is computed, apart from the data.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Which loss.
    pub loss: Loss,
    /// Factor on the score (difference).
    pub temperature: f64,
    /// Factor on the slope.
    pub scale: f64,
}

/// Columns that give each row its a and b; every one has an entry for each row, or one for all.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a, T> {
    /// Weight and weighted target; for the mixture weight and evidence.
    Folded(Folded<'a, T>),
    /// What was recorded, with its nuisances.
    Raw(Raw<'a, T>),
}

/// Scores and columns of some rows: z = temperature (ahead - behind) - margin.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// Rewards of the responses, or of slot A.
    pub ahead: &'a [T],
    /// Rewards of slot B.
    pub behind: Option<&'a [T]>,
    /// What becomes a and b.
    pub entry: Entry<'a, T>,
    /// Subtracted from z.
    pub margin: &'a [T],
}

/// Sums over rows, named as `unskew.losses.engines.SUMS`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Losses, not scaled.
    pub loss: f64,
    /// Weights.
    pub weight: f64,
    /// Squares of the weights.
    pub weight_squared: f64,
    /// Observed rows with a propensity below the floor.
    pub clipped: f64,
    /// Rows with b outside [0, a].
    pub outside: f64,
    /// Rows that break a rule; their loss and slope are nan.
    pub invalid: f64,
    /// Smallest z, infinite without rows.
    pub z_min: f64,
    /// Largest z, infinite without rows.
    pub z_max: f64,
}

impl Sums {
    const NONE: Self = Self {
        loss: 0.0,
        weight: 0.0,
        weight_squared: 0.0,
        clipped: 0.0,
        outside: 0.0,
        invalid: 0.0,
        z_min: f64::INFINITY,
        z_max: f64::NEG_INFINITY,
    };

    /// As the vector of sums has them.
    pub fn in_order(&self) -> [f64; 8] {
        [
            self.loss,
            self.weight,
            self.weight_squared,
            self.clipped,
            self.outside,
            self.invalid,
            self.z_min,
            self.z_max,
        ]
    }

    /// Sums of these rows and then those.
    fn then(self, next: &Self) -> Self {
        Self {
            loss: self.loss + next.loss,
            weight: self.weight + next.weight,
            weight_squared: self.weight_squared + next.weight_squared,
            clipped: self.clipped + next.clipped,
            outside: self.outside + next.outside,
            invalid: self.invalid + next.invalid,
            z_min: math::least(self.z_min, next.z_min),
            z_max: -math::least(-self.z_max, -next.z_max),
        }
    }
}

/// Sums over the rows; `slope` becomes scale temperature dL/dz of each row.
///
/// # Errors
/// A column has neither one entry nor one for each row, or `behind` or `slope` not one for each row.
pub fn loss<T: Real>(rows: &Rows<T>, form: &Form, threads: usize, slope: &mut [T]) -> Result<Sums> {
    let count = rows.ahead.len();
    let whole = [Some(slope.len()), rows.behind.map(<[T]>::len)];
    let fits = whole.iter().flatten().all(|&len| len == count)
        && lengths(rows).iter().all(|&len| len == 1 || len == count);
    if !fits {
        return Err(Error::Value(format!(
            "a column does not fit {count} scores: one number per score, or one for all, is needed"
        )));
    }
    let blocks = count.div_ceil(BLOCK);
    let mut parts = vec![Sums::NONE; blocks];
    // a thread takes the next block when it is free: another's core may be busy with somebody else's work
    let queue = Mutex::new(parts.iter_mut().zip(slope.chunks_mut(BLOCK)).enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((number, (part, slope))) = next() {
            *part = unchecked::block(rows, form, number * BLOCK, slope);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(blocks) {
            scope.spawn(work);
        }
        work();
    });
    Ok(parts.iter().fold(Sums::NONE, Sums::then))
}

/// Lengths of the columns.
fn lengths<T>(rows: &Rows<T>) -> Vec<usize> {
    let mut found = vec![rows.margin.len()];
    match &rows.entry {
        Entry::Folded(Folded { a, b }) => found.extend([a.len(), b.len()]),
        Entry::Raw(raw) => {
            found.extend([raw.label, raw.propensity, raw.fnr, raw.fpr].map(<[T]>::len));
            found.push(raw.observed.len());
            found.extend(raw.imputation.map(<[T]>::len));
        }
    }
    found
}

/// Sums and slopes of one block, from row `first` on.
#[inline(always)]
pub(crate) fn block<T: Real>(rows: &Rows<T>, form: &Form, first: usize, slope: &mut [T]) -> Sums {
    match &rows.entry {
        Entry::Folded(columns) => with(rows, form, columns, first, slope),
        Entry::Raw(columns) => with(rows, form, columns, first, slope),
    }
}

/// The same for a kind of columns.
#[inline(always)]
fn with<T: Real>(
    rows: &Rows<T>,
    form: &Form,
    columns: &impl Enter<T>,
    first: usize,
    slope: &mut [T],
) -> Sums {
    let pass = Pass {
        rows,
        form,
        columns,
    };
    match form.loss {
        Loss::Logistic => pass.run::<Logistic>(first, slope),
        Loss::Brier => pass.run::<Brier>(first, slope),
        Loss::Mixture => pass.run::<Mixture>(first, slope),
    }
}

/// What is summed.
struct Pass<'a, T, E> {
    rows: &'a Rows<'a, T>,
    form: &'a Form,
    columns: &'a E,
}

impl<T: Real, E: Enter<T>> Pass<'_, T, E> {
    /// All rows of a block, vector by vector.
    #[inline(always)]
    #[allow(clippy::indexing_slicing)]
    fn run<F: Formula>(&self, first: usize, slope: &mut [T]) -> Sums {
        let mut totals = Totals::NONE; // not behind a pointer: it stays in registers
        let mut row = first;
        let (vectors, rest) = slope.as_chunks_mut::<LANES>();
        for vector in vectors {
            *vector = self.step::<F>(row, LANES, &mut totals);
            row += LANES;
        }
        if !rest.is_empty() {
            let count = rest.len();
            rest.copy_from_slice(&self.step::<F>(row, count, &mut totals)[..count]);
        }
        totals.sums()
    }

    /// Slopes of `count` rows, at most a vector.
    #[inline(always)]
    #[allow(clippy::indexing_slicing)]
    fn step<F: Formula>(&self, row: usize, count: usize, totals: &mut Totals<T>) -> Lanes<T> {
        let temperature = T::of(self.form.temperature);
        let factor = T::of(self.form.scale * self.form.temperature);
        let ahead = lanes(self.rows.ahead, row, count, T::ZERO);
        let margin = lanes(self.rows.margin, row, count, T::ZERO);
        let behind = match self.rows.behind {
            Some(column) => lanes(column, row, count, T::ZERO),
            None => [T::ZERO; LANES],
        };
        let Entered {
            a,
            b,
            weight,
            clipped,
            invalid,
        } = self.columns.enter(row, count);
        let [mut z, mut value, mut slope, mut outside] = [[T::ZERO; LANES]; 4];
        for i in 0..LANES {
            z[i] = temperature * (ahead[i] - behind[i]) - margin[i];
            let (of_row, derivative) = F::at(z[i], a[i], b[i]);
            value[i] = of_row;
            slope[i] = factor * derivative;
            let beyond = F::BOUNDED & ((b[i] < T::ZERO) | (b[i] > a[i]));
            outside[i] = if beyond { T::ONE } else { T::ZERO };
        }
        for i in 0..count {
            let weight: f64 = weight[i].into();
            totals.loss[i] += value[i].into();
            totals.weight[i] += weight;
            totals.square[i] += weight * weight;
        }
        for i in 0..count {
            totals.clipped[i] = totals.clipped[i] + clipped[i];
            totals.outside[i] = totals.outside[i] + outside[i];
            totals.invalid[i] = totals.invalid[i] + invalid[i];
            totals.low[i] = math::least(totals.low[i], z[i]);
            totals.high[i] = math::least(totals.high[i], -z[i]);
        }
        slope
    }
}

/// What a block has come to, lane by lane. A lane counts 2,048 rows at most, which float32 does exactly.
struct Totals<T> {
    loss: Lanes<f64>,
    weight: Lanes<f64>,
    square: Lanes<f64>,
    clipped: Lanes<T>,
    outside: Lanes<T>,
    invalid: Lanes<T>,
    low: Lanes<T>,
    high: Lanes<T>,
}

impl<T: Real> Totals<T> {
    const NONE: Self = Self {
        loss: [0.0; LANES],
        weight: [0.0; LANES],
        square: [0.0; LANES],
        clipped: [T::ZERO; LANES],
        outside: [T::ZERO; LANES],
        invalid: [T::ZERO; LANES],
        low: [T::INFINITY; LANES],
        high: [T::INFINITY; LANES],
    };

    /// The lanes together, in order.
    fn sums(&self) -> Sums {
        let count = |lanes: Lanes<T>| lanes.into_iter().map(Into::<f64>::into).sum();
        let least = |lanes: Lanes<T>| lanes.into_iter().fold(T::INFINITY, math::least).into();
        Sums {
            loss: self.loss.iter().sum(),
            weight: self.weight.iter().sum(),
            weight_squared: self.square.iter().sum(),
            clipped: count(self.clipped),
            outside: count(self.outside),
            invalid: count(self.invalid),
            z_min: least(self.low),
            z_max: -least(self.high),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [from, to) that look random and repeat themselves.
    fn numbers(count: usize, seed: u64, from: f64, to: f64) -> Vec<f64> {
        let mut state = seed;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            from + (to - from) * (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..count).map(|_| draw()).collect()
    }

    const FORM: Form = Form {
        loss: Loss::Logistic,
        temperature: 1.5,
        scale: 0.25,
    };

    fn folded<'a>(ahead: &'a [f64], a: &'a [f64], b: &'a [f64]) -> Rows<'a, f64> {
        Rows {
            ahead,
            behind: None,
            entry: Entry::Folded(Folded { a, b }),
            margin: &[0.0],
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let count = 3 * BLOCK + 17;
        let (z, a, b) = (
            numbers(count, 1, -9.0, 9.0),
            numbers(count, 2, 0.0, 2.0),
            numbers(count, 3, -1.0, 2.0),
        );
        let rows = folded(&z, &a, &b);
        let mut slope = vec![0.0; count];
        let sums = loss(&rows, &FORM, 1, &mut slope).ok();
        for threads in [0, 2, 3, 4, 9] {
            let mut other = vec![0.0; count];
            assert_eq!(loss(&rows, &FORM, threads, &mut other).ok(), sums);
            assert_eq!(other, slope);
        }
    }

    #[test]
    fn every_loss_has_the_slope_of_its_value() {
        for which in [Loss::Logistic, Loss::Brier, Loss::Mixture] {
            let form = Form {
                loss: which,
                temperature: 1.0,
                scale: 1.0,
            };
            for z in [-30.0, -2.0, 0.1, 3.0, 30.0] {
                for (a, b) in [(1.0, 1.0), (1.0, 0.0), (0.7, 1.2), (-0.5, 0.3), (1.0, -3.0)] {
                    let at = |z: f64| {
                        let mut slope = [0.0];
                        let sums = loss(&folded(&[z], &[a], &[b]), &form, 1, &mut slope);
                        (sums.map_or(f64::NAN, |sums| sums.loss), slope)
                    };
                    let step = 1e-6;
                    let secant = (at(z + step).0 - at(z - step).0) / (2.0 * step);
                    let [slope] = at(z).1;
                    assert!((secant - slope).abs() < 1e-8, "{which:?} {z} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn impossible_rows_are_counted_and_nan() {
        let rows = Rows {
            ahead: &[0.0; 4],
            behind: Some(&[0.0; 4]),
            entry: Entry::Raw(Raw {
                label: &[1.0, f64::NAN, 2.0, 0.0],
                observed: &[1, 0, 1, 1],
                propensity: &[0.5, 0.01, 0.5, 0.01],
                fnr: &[0.1],
                fpr: &[0.0],
                imputation: None,
                floor: 0.02,
            }),
            margin: &[0.0],
        };
        let mut slope = [0.0; 4];
        let Ok(sums) = loss(&rows, &FORM, 1, &mut slope) else {
            unreachable!()
        };
        assert_eq!((sums.invalid, sums.clipped, sums.weight), (1.0, 1.0, 54.0));
        assert!(sums.loss.is_nan());
        assert_eq!(slope.map(f64::is_nan), [false, false, true, false]);
    }

    #[test]
    fn no_rows_have_no_sums_and_a_column_must_fit() {
        assert_eq!(
            loss(&folded(&[], &[1.0], &[1.0]), &FORM, 2, &mut []).ok(),
            Some(Sums::NONE)
        );
        let unfit = loss(
            &folded(&[0.0; 3], &[1.0], &[1.0; 2]),
            &FORM,
            1,
            &mut [0.0; 3],
        );
        assert_eq!(
            unfit.err().map(|error| error.to_string()).as_deref(),
            Some("a column does not fit 3 scores: one number per score, or one for all, is needed")
        );
    }
}
