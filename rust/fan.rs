//! Work on several threads with results in the order of the items, or of the shares.
//!
//! Item i goes to worker i mod n over a bounded channel, and the consumer asks the workers in the same turn, so
//! order costs no buffer and memory is bounded by the channels.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

const QUEUE: usize = 2;
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs `produce` and `threads` workers; `consume` sees every result in order, on the calling thread.
///
/// `produce` gets a function that takes an item and says whether more are wanted. `idle` is called while waiting
/// and may stop everything. Returns when all threads have ended.
pub fn ordered<I: Send, O: Send, W: FnMut(I) -> O + Send>(
    workers: Vec<W>,
    produce: impl FnOnce(&mut dyn FnMut(I) -> bool) + Send,
    mut consume: impl FnMut(O) -> Result<()>,
    mut idle: impl FnMut() -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for mut work in workers {
            let (send_item, items) = sync_channel::<I>(QUEUE);
            let (send_result, results) = sync_channel::<O>(QUEUE);
            scope.spawn(move || {
                while let Ok(item) = items.recv() {
                    if send_result.send(work(item)).is_err() {
                        return;
                    }
                }
            });
            inputs.push(send_item);
            outputs.push(results);
        }
        scope.spawn(move || {
            let mut turn = inputs.iter().cycle();
            produce(&mut |item| turn.next().is_some_and(|input| input.send(item).is_ok()));
        });
        for results in outputs.iter().cycle() {
            let result = loop {
                match results.recv_timeout(PATIENCE) {
                    Ok(result) => break result,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => idle()?,
                }
            };
            consume(result)?;
        }
        Ok(())
    })
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
        for threads in 1..5 {
            let workers = (0..threads).map(|_| |item: u64| item * item).collect();
            let mut seen = Vec::new();
            let produce = |give: &mut dyn FnMut(u64) -> bool| assert!((0..100).all(give));
            let collect = |item| {
                seen.push(item);
                Ok(())
            };
            ordered(workers, produce, collect, || Ok(())).unwrap();
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
    fn an_error_of_the_consumer_stops_an_endless_producer() {
        let workers = vec![|item: u64| item; 2];
        let produce = |give: &mut dyn FnMut(u64) -> bool| while give(1) {};
        let stopped = ordered(workers, produce, |_| Err(Error::Interrupted), || Ok(()));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
