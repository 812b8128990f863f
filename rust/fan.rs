//! Work on several threads with results in the order of the items, or of the shares.
//!
//! Whoever is free draws the next item, so that what was read is worked on by the thread that has it in its cache.
//! While it draws, a worker says whose turn it is; the consumer asks the workers in the order of their turns, so order
//! costs no buffer and memory is bounded by the channels.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

const QUEUE: usize = 2;
const PATIENCE: Duration = Duration::from_millis(100);

/// Gives items until there are none.
type Draw<'a, I> = Box<dyn FnMut() -> Option<I> + Send + 'a>;

/// Runs workers on the items of `draw`; `consume` sees every result in order, on the calling thread.
///
/// With `ahead` the last worker draws for the others instead, which pays where an item is as much work to draw as to work
/// on, and whoever draws it has in the cache what the next one needs. A single worker does not wait for its items:
/// another thread draws ahead. `idle` is called while waiting and may stop everything. Returns when all threads have
/// ended.
pub fn ordered<I: Send, O: Send, W: FnMut(I) -> O + Send>(
    mut workers: Vec<W>,
    ahead: bool,
    draw: impl FnMut() -> Option<I> + Send,
    mut consume: impl FnMut(O) -> Result<()>,
    mut idle: impl FnMut() -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let mut draw: Draw<'_, I> = Box::new(draw);
        if ahead && workers.len() > 1 {
            workers.pop();
        }
        if ahead || workers.len() == 1 {
            let (drawn, items) = sync_channel(QUEUE);
            scope.spawn(move || while draw().is_some_and(|item| drawn.send(item).is_ok()) {});
            draw = Box::new(move || items.recv().ok());
        }
        let draw = Arc::new(Mutex::new(Some(draw)));
        let (turn, turns) = channel();
        let mut outputs = Vec::new();
        for (number, mut work) in workers.into_iter().enumerate() {
            let (send, results) = sync_channel(QUEUE);
            let (draw, turn) = (draw.clone(), turn.clone());
            let next = move || {
                let mut draw = draw.lock().ok()?; // another worker failed
                let item = draw.as_mut()?();
                if item.is_none() || turn.send(number).is_err() {
                    *draw = None;
                }
                item
            };
            scope.spawn(move || while next().is_some_and(|item| send.send(work(item)).is_ok()) {});
            outputs.push(results);
        }
        drop((draw, turn));
        while let Some(number) = wait(&turns, &mut idle)? {
            let results = outputs.get(number);
            match results.map_or(Ok(None), |results| wait(results, &mut idle))? {
                Some(result) => consume(result)?,
                None => return Ok(()), // it failed, which the scope tells
            }
        }
        Ok(())
    })
}

/// What comes next, or none when nothing will.
fn wait<T>(from: &Receiver<T>, idle: &mut impl FnMut() -> Result<()>) -> Result<Option<T>> {
    loop {
        match from.recv_timeout(PATIENCE) {
            Ok(found) => return Ok(Some(found)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => idle()?,
        }
    }
}

/// What `work` makes of every share, all at the same time, the first on the calling thread.
pub fn shares<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..count)
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let first = work(0);
        let others = others.into_iter().map(|thread| {
            let lost = |_| Err(Error::Internal("a thread failed".to_owned()));
            thread.join().unwrap_or_else(lost)
        });
        std::iter::once(first).chain(others).collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_workers() {
        for threads in 2..10 {
            let (threads, ahead) = (threads / 2, threads % 2 > 0);
            let workers = (0..threads).map(|_| |item: u64| item * item).collect();
            let (mut seen, mut items) = (Vec::new(), 0..100);
            let collect = |item| {
                seen.push(item);
                Ok(())
            };
            ordered(workers, ahead, || items.next(), collect, || Ok(())).unwrap();
            assert_eq!(seen, (0..100).map(|item| item * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn shares_come_in_order_and_one_that_fails_is_told() {
        for count in 1..5 {
            assert_eq!(
                shares(count, |share| Ok(share * share)).unwrap(),
                (0..count).map(|share| share * share).collect::<Vec<_>>()
            );
            let failed = shares(count, |share| {
                if share + 1 == count {
                    return Err(Error::Interrupted);
                }
                Ok(share)
            });
            assert!(matches!(failed, Err(Error::Interrupted)));
        }
    }

    #[test]
    fn an_error_of_the_consumer_stops_an_endless_source() {
        for threads in 2..8 {
            let (workers, ahead) = (vec![|item: u64| item; threads / 2], threads % 2 > 0);
            let stop = |_| Err(Error::Interrupted);
            let stopped = ordered(workers, ahead, || Some(1), stop, || Ok(()));
            assert!(matches!(stopped, Err(Error::Interrupted)));
        }
    }

    #[test]
    fn a_worker_that_fails_ends_the_others_and_is_told() {
        for threads in 2..8 {
            let workers = vec![|item: u64| assert!(item < 10); threads / 2];
            let (mut items, ahead) = (0.., threads % 2 > 0);
            let run = || ordered(workers, ahead, || items.next(), |()| Ok(()), || Ok(()));
            assert!(matches!(
                crate::error::guarded(run),
                Err(Error::Internal(_))
            ));
        }
    }
}
