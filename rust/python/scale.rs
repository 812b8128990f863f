//! Scale-out of ingestion for Python: the driver's job, and a stage for one addressee.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{Raised, cause, json, opener};
use crate::error::guarded;
use crate::event::time;
use crate::ingest::scale::{DRIVER, Job, Letter, STAGES, step};
use crate::ingest::{Budget, Options};
use crate::key::Secret;
use crate::mapping::Mapping;

/// A job: it locks a new store, tells workers what they must know, hears of each stage, and commits once.
#[pyclass(module = "unskew._rust")]
pub struct ScaleJob(Option<Job>);

#[pymethods]
impl ScaleJob {
    /// Whom a stage tells what concerns all.
    #[classattr]
    const DRIVER: i64 = DRIVER;
    /// Number of stages.
    #[classattr]
    const STAGES: usize = STAGES;

    /// Deal the inputs to at most so many shards of about equal size, in order.
    #[new]
    #[pyo3(signature = (
        inputs, store, *, shards, source = "canonical", key_file = None, max_bad = None, until = None,
        window_us = 604_800_000_000, lateness_us = 86_400_000_000, keep_raw = false, mapping = None,
        keep_addresses = false
    ))]
    #[allow(clippy::too_many_arguments)] // as those of `ingest`
    fn new(
        py: Python<'_>,
        inputs: Vec<PathBuf>,
        store: PathBuf,
        shards: usize,
        source: &str,
        key_file: Option<PathBuf>,
        max_bad: Option<&str>,
        until: Option<&str>,
        window_us: i64,
        lateness_us: i64,
        keep_raw: bool,
        mapping: Option<&str>,
        keep_addresses: bool,
    ) -> PyResult<Self> {
        if window_us < 0 || lateness_us < 0 {
            return Err(PyValueError::new_err(format!(
                "window_us is {window_us} and lateness_us {lateness_us}; both must be at least 0"
            )));
        }
        let until = until.map(|text| time::parse("until", text)).transpose();
        let options = Options {
            source: source.to_owned(),
            secret: Secret::find(key_file.as_deref())?,
            budget: max_bad.map_or(Ok(Budget::Default), Budget::parse)?,
            until: until.map_err(|bad| PyValueError::new_err(format!("until: {}", bad.message)))?,
            threads: 1,
            window: window_us,
            lateness: lateness_us,
            salvage: false,
            keep_raw,
            memory: None,
            mapping: mapping.map(Mapping::parse).transpose()?.map(Arc::new),
            tables: None,
            cursor: None,
            keep_addresses,
        };
        let begun = py.detach(|| {
            guarded(|| {
                Job::begin(
                    &inputs,
                    &store,
                    &options,
                    key_file.as_deref(),
                    mapping,
                    shards,
                )
            })
        });
        Ok(Self(Some(begun?)))
    }

    /// Number of shards, each of which gets an empty letter for the first stage.
    #[getter]
    fn shards(&self) -> PyResult<usize> {
        Ok(self.0.as_ref().ok_or_else(over)?.shards())
    }

    /// What the workers of the next stage must know.
    fn settings(&self) -> PyResult<String> {
        Ok(self.0.as_ref().ok_or_else(over)?.settings()?)
    }

    /// Hear what a stage tells the driver: (sender, letter).
    fn learn(&mut self, py: Python<'_>, letters: Vec<Letter>) -> PyResult<()> {
        let job = self.0.as_mut().ok_or_else(over)?;
        Ok(py.detach(|| guarded(|| job.learn(letters)))?)
    }

    /// Commit; returns the report as JSON.
    fn commit(&mut self, py: Python<'_>) -> PyResult<String> {
        let job = self.0.take().ok_or_else(over)?;
        Ok(py.detach(|| guarded(|| json(&job.commit()?)))?)
    }

    /// Give the store back without a commit, and delete what was written; nothing after a commit.
    fn abandon(&mut self, py: Python<'_>) {
        let job = self.0.take();
        py.detach(|| {
            if let Some(job) = job {
                job.abandon();
            }
        });
    }
}

fn over() -> PyErr {
    PyValueError::new_err("this job has ended")
}

/// Run a stage for one addressee, given its letters as (sender, letter); returns (addressee, letter).
#[pyfunction]
#[pyo3(signature = (settings, stage, to, letters, tables = None))]
pub fn scale_step<'py>(
    py: Python<'py>,
    settings: &str,
    stage: usize,
    to: i64,
    letters: Vec<Letter>,
    tables: Option<Py<PyAny>>,
) -> PyResult<Vec<(i64, Bound<'py, PyBytes>)>> {
    let raised: Raised = Arc::default();
    let tables = tables.map(|tables| opener(tables, raised.clone()));
    let outcome = py.detach(|| guarded(|| step(settings, stage, to, letters, tables)));
    let letters = outcome.map_err(|error| cause(&raised, error))?;
    let bytes = |(to, letter): Letter| (to, PyBytes::new(py, &letter));
    Ok(letters.into_iter().map(bytes).collect())
}
