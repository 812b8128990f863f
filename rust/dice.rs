//! The numbers that tests draw: the same on every run.

/// Draws below a bound, from a seed that is not 0 (xorshift64 of Marsaglia, 2003).
pub fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    }
}
