//! The Python boundary, and the only file that knows of PyO3: convert, release the lock, call, wrap.

mod scale;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::create_exception;
use pyo3::exceptions::{
    PyException, PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError,
};
use pyo3::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result, guarded};
use crate::event::{Kind, time};
use crate::ingest::{
    Budget, Opener, Options, Progress, compact as join, erase as take_out, ingest as run,
    survey as look,
};
use crate::key::Secret;
use crate::loss::{Entry, Folded, Form, Loss, Raw, Real, Rows, loss as sum};
use crate::mapping::Mapping;
use crate::spill::size;
use crate::store::{self, Store};
use crate::unchecked::{Element, Fresh, give_back, numbers, stream};

create_exception!(
    unskew._rust,
    BudgetExceeded,
    PyException,
    "More bad lines than the budget allows; nothing was committed."
);
create_exception!(
    unskew._rust,
    StoreLocked,
    PyException,
    "Another process is writing to the store."
);
create_exception!(
    unskew._rust,
    ChecksumError,
    PyException,
    "Stored bytes are not the bytes that were committed."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                PyFileNotFoundError::new_err(text)
            }
            Error::Io { .. } | Error::Corrupt { .. } | Error::Rewritten { .. } => {
                PyOSError::new_err(text)
            }
            Error::Budget { .. } => BudgetExceeded::new_err(text),
            Error::Locked(_) => StoreLocked::new_err(text),
            Error::Checksum { .. } => ChecksumError::new_err(text),
            Error::Interrupted => PyKeyboardInterrupt::new_err(text),
            Error::Internal(_) => PyRuntimeError::new_err(text),
            Error::Value(_) => PyValueError::new_err(text),
        }
    }
}

fn json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string(document).map_err(|error| Error::Value(error.to_string()))
}

/// What long work without Python comes to, as JSON; the memory that it has freed goes back to the system.
fn done<T: Serialize>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<String> {
    py.detach(|| {
        let outcome = guarded(|| json(&work()?));
        give_back();
        outcome
    })
}

/// Read logs into a store, in one commit or not at all; returns the report as JSON.
#[pyfunction]
#[pyo3(signature = (
    inputs, store, *, source = "canonical", key_file = None, max_bad = None, until = None, threads = 0,
    window_us = 604_800_000_000, lateness_us = 86_400_000_000, keep_raw = false, memory = None, mapping = None,
    progress = None, tables = None, cursor = None, keep_addresses = false, salvage = false
))]
#[allow(clippy::too_many_arguments)] // the command line's flags, one each
fn ingest(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    store: PathBuf,
    source: &str,
    key_file: Option<PathBuf>,
    max_bad: Option<&str>,
    until: Option<&str>,
    threads: usize,
    window_us: i64,
    lateness_us: i64,
    keep_raw: bool,
    memory: Option<&str>,
    mapping: Option<&str>,
    progress: Option<Py<PyAny>>,
    tables: Option<Py<PyAny>>,
    cursor: Option<String>,
    keep_addresses: bool,
    salvage: bool,
) -> PyResult<String> {
    if window_us < 0 || lateness_us < 0 {
        return Err(PyValueError::new_err(format!(
            "window_us is {window_us} and lateness_us {lateness_us}; both must be at least 0"
        )));
    }
    let raised: Raised = Arc::default();
    let until = until.map(|text| time::parse("until", text)).transpose();
    let options = Options {
        source: source.to_owned(),
        secret: Secret::find(key_file.as_deref())?,
        budget: max_bad.map_or(Ok(Budget::Default), Budget::parse)?,
        until: until.map_err(|bad| PyValueError::new_err(format!("until: {}", bad.message)))?,
        threads: if threads == 0 { 2 } else { threads.min(64) },
        window: window_us,
        lateness: lateness_us,
        salvage,
        keep_raw,
        memory: memory.map(size).transpose()?,
        mapping: mapping.map(Mapping::parse).transpose()?.map(Arc::new),
        tables: tables.map(|tables| opener(tables, raised.clone())),
        cursor,
        keep_addresses,
    };
    let mut tell = |done: Progress| {
        Python::attach(|py| {
            let told = py.check_signals().and_then(|()| match &progress {
                Some(progress) => progress.call1(py, (done.bytes, done.lines)).map(drop),
                None => Ok(()),
            });
            told.map_err(|error| keep(&raised, error))
        })
    };
    let outcome = done(py, || run(&inputs, &store, &options, &mut tell));
    outcome.map_err(|error| cause(&raised, error))
}

/// What Python raised while Rust was at work.
type Raised = Arc<Mutex<Option<PyErr>>>;

/// Keeps an exception for the end of the run, and stops the run.
fn keep(raised: &Raised, error: PyErr) -> Error {
    if let Ok(mut raised) = raised.lock() {
        raised.get_or_insert(error);
    }
    Error::Interrupted
}

/// The kept exception, or the error itself.
fn cause(raised: &Raised, error: Error) -> PyErr {
    let kept = raised.lock().ok().and_then(|mut raised| raised.take());
    kept.unwrap_or_else(|| error.into())
}

/// Opens tables by calling `tables` with their names; it gives objects with `__arrow_c_stream__`.
fn opener(tables: Py<PyAny>, raised: Raised) -> Opener {
    Box::new(move |name| {
        let open = |py: Python<'_>| {
            let table = tables.call1(py, (name,))?;
            stream(&table.bind(py).call_method0("__arrow_c_stream__")?)
        };
        Python::attach(open).map_err(|error| keep(&raised, error))
    })
}

/// Read logs without writing anything; returns what is in them as JSON.
#[pyfunction]
#[pyo3(signature = (
    inputs, *, source = "canonical", until = None, window_us = 604_800_000_000, lateness_us = 86_400_000_000,
    mapping = None, tables = None, salvage = false
))]
#[allow(clippy::too_many_arguments)] // as those of `ingest`
fn survey(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    source: &str,
    until: Option<&str>,
    window_us: i64,
    lateness_us: i64,
    mapping: Option<&str>,
    tables: Option<Py<PyAny>>,
    salvage: bool,
) -> PyResult<String> {
    let raised: Raised = Arc::default();
    let until = until.map(|text| time::parse("until", text)).transpose();
    let options = Options {
        source: source.to_owned(),
        secret: Secret::new(&[0; 32])?, // no pseudonym leaves a survey
        budget: Budget::Default,
        until: until.map_err(|bad| PyValueError::new_err(format!("until: {}", bad.message)))?,
        threads: 1,
        cursor: None,
        keep_addresses: false,
        window: window_us,
        lateness: lateness_us,
        salvage,
        keep_raw: false,
        memory: None,
        mapping: mapping.map(Mapping::parse).transpose()?.map(Arc::new),
        tables: tables.map(|tables| opener(tables, raised.clone())),
    };
    let mut tell =
        |_| Python::attach(|py| py.check_signals().map_err(|error| keep(&raised, error)));
    let outcome = done(py, || look(&inputs, &options, &mut tell));
    outcome.map_err(|error| cause(&raised, error))
}

/// The newest ledger entry of a store as JSON.
#[pyfunction]
fn open_store(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    Ok(py.detach(|| guarded(|| json(&store::open(&path)?)))?)
}

/// Check every checksum and count of a store and its digest; returns what was checked as JSON.
#[pyfunction]
#[pyo3(signature = (path, *, key_file = None, memory = None))]
fn verify(
    py: Python<'_>,
    path: PathBuf,
    key_file: Option<PathBuf>,
    memory: Option<&str>,
) -> PyResult<String> {
    let memory = memory.map(size).transpose()?;
    Ok(done(py, || {
        store::verify::verify(&path, &Secret::find(key_file.as_deref())?, memory)
    })?)
}

/// Erase a person from a store, in one commit; returns what was erased as JSON.
#[pyfunction]
#[pyo3(signature = (path, user, *, key_file = None, memory = None))]
fn erase(
    py: Python<'_>,
    path: PathBuf,
    user: &str,
    key_file: Option<PathBuf>,
    memory: Option<&str>,
) -> PyResult<String> {
    let memory = memory.map(size).transpose()?;
    let secret = Secret::find(key_file.as_deref())?;
    let mut tell = |_| Python::attach(|py| py.check_signals().map_err(|_| Error::Interrupted));
    Ok(done(py, || {
        take_out(user, &path, secret, memory, &mut tell)
    })?)
}

/// Join small parts of a store into few, in one commit; returns what was done as JSON.
#[pyfunction]
fn compact(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let mut alive = || Python::attach(|py| py.check_signals().map_err(|_| Error::Interrupted));
    Ok(done(py, || join(&path, &mut alive))?)
}

/// Move temporary files into a folder of the store under an id, in one commit.
#[pyfunction]
fn attach(
    py: Python<'_>,
    store: PathBuf,
    folder: &str,
    id: &str,
    files: Vec<PathBuf>,
    generation: u64,
) -> PyResult<()> {
    Ok(py.detach(|| {
        guarded(|| {
            Store::reopen(&store)?
                .0
                .attach(folder, id, &files, generation)
        })
    })?)
}

/// The kinds of feedback: (name, bit, side).
#[pyfunction]
fn kinds() -> Vec<(&'static str, u8, &'static str)> {
    Kind::ALL
        .iter()
        .map(|kind| (kind.name(), *kind as u8, kind.side().name()))
        .collect()
}

/// Sums over rows, in the order of `losses.engines.SUMS`, and the slope of each row; see there.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // those of every engine
fn loss<'py>(
    scores_a: &Bound<'py, PyAny>,
    scores_b: Option<&Bound<'py, PyAny>>,
    columns: Vec<Bound<'py, PyAny>>,
    entry: &str,
    loss: &str,
    temperature: f64,
    floor: f64,
    scale: f64,
    threads: usize,
) -> PyResult<([f64; 8], Bound<'py, PyAny>)> {
    let form = Form {
        loss: Loss::parse(loss)?,
        temperature,
        scale,
    };
    let width: usize = scores_a.call_method0("element_size")?.extract()?;
    let over = if width == size_of::<f64>() {
        typed::<f64>
    } else {
        typed::<f32>
    };
    over(scores_a, scores_b, &columns, entry, &form, floor, threads)
}

/// The same for one type of numbers.
fn typed<'py, T: Real + Element>(
    scores_a: &Bound<'py, PyAny>,
    scores_b: Option<&Bound<'py, PyAny>>,
    columns: &[Bound<'py, PyAny>],
    entry: &str,
    form: &Form,
    floor: f64,
    threads: usize,
) -> PyResult<([f64; 8], Bound<'py, PyAny>)> {
    let (entry, margin) = match (entry, columns) {
        ("folded", [a, b, margin]) => (
            Entry::Folded(Folded {
                a: numbers(a)?,
                b: numbers(b)?,
            }),
            margin,
        ),
        (
            "raw",
            [
                label,
                observed,
                propensity,
                fnr,
                fpr,
                imputation @ ..,
                margin,
            ],
        ) if imputation.len() < 2 => {
            let raw = Raw {
                label: numbers(label)?,
                observed: numbers(observed)?,
                propensity: numbers(propensity)?,
                fnr: numbers(fnr)?,
                fpr: numbers(fpr)?,
                imputation: imputation.first().map(numbers).transpose()?,
                floor: T::of(floor),
            };
            (Entry::Raw(raw), margin)
        }
        _ => {
            return Err(PyValueError::new_err(format!(
                "entry is '{entry}' with {} columns; it must be folded with 3, or raw with 6 or 7",
                columns.len()
            )));
        }
    };
    let rows = Rows {
        ahead: numbers(scores_a)?,
        behind: scores_b.map(numbers).transpose()?,
        entry,
        margin: numbers(margin)?,
    };
    let mut slopes = Fresh::like(scores_a)?;
    let slope = slopes.numbers()?;
    let sums = scores_a
        .py()
        .detach(|| guarded(|| sum(&rows, form, threads, slope)))?;
    Ok((sums.in_order(), slopes.shown()))
}

#[pymodule]
fn _rust(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BudgetExceeded", module.py().get_type::<BudgetExceeded>())?;
    module.add("StoreLocked", module.py().get_type::<StoreLocked>())?;
    module.add("ChecksumError", module.py().get_type::<ChecksumError>())?;
    module.add_function(wrap_pyfunction!(ingest, module)?)?;
    module.add_function(wrap_pyfunction!(scale::scale_step, module)?)?;
    module.add_class::<scale::ScaleJob>()?;
    module.add_function(wrap_pyfunction!(survey, module)?)?;
    module.add_function(wrap_pyfunction!(open_store, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(erase, module)?)?;
    module.add_function(wrap_pyfunction!(compact, module)?)?;
    module.add_function(wrap_pyfunction!(attach, module)?)?;
    module.add_function(wrap_pyfunction!(kinds, module)?)?;
    module.add_function(wrap_pyfunction!(loss, module)?)
}
