//! The name of a connection.

use std::fmt;
use std::sync::Arc;

use super::clock::unix_ms;
use super::serial_blocks::{SERIALS_A_BLOCK, SerialBlocks};

/// Bits of an [`Fd`] that name the reactor; six leave 47 of the 53 bits to the serial number.
const REACTOR_BITS: u32 = 6;

/// Largest number of reactors in a server.
pub const REACTORS_MAX: usize = 1 << REACTOR_BITS;

/// Serial numbers that a restart skips for each millisecond of the clock.
///
/// A reactor overtakes the clock only if it accepts more than 64,000 connections a second without
/// a pause, and at this rate the 47 bits of a serial number last for 69 years.
const SERIALS_PER_MS: u64 = 64;

/// The moment from which serial numbers are counted: 2025-01-01, in milliseconds since 1970.
const SERIAL_EPOCH_MS: u64 = 1_735_689_600_000;

/// The name of a connection, as Swoole calls it; not the kernel's descriptor.
///
/// A whole number below 2^53, which JavaScript reads without loss. A name is never reused, even
/// after a restart, so a binding that was kept too long finds no connection, never a stranger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub u64);

impl Fd {
    /// The reactor that owns the connection.
    #[must_use]
    pub const fn reactor(self) -> usize {
        (self.0 & (REACTORS_MAX as u64 - 1)) as usize
    }

    /// The connection's place in the order in which its reactor accepted connections.
    #[must_use]
    pub const fn serial(self) -> u64 {
        self.0 >> REACTOR_BITS
    }
}

impl fmt::Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hands out the names of one reactor's connections.
#[derive(Debug)]
pub(crate) struct FdSource {
    next_serial: u64,
    /// The last number that may be handed out without a look at the blocks, if there are any.
    look_at: u64,
    blocks: Option<Arc<SerialBlocks>>,
    reactor: usize,
}

impl FdSource {
    /// Starts after `serials_from`, or after the clock's serial number if that is greater: an
    /// earlier process may have got that far.
    pub(crate) fn new(reactor: usize, serials_from: u64) -> Self {
        Self {
            next_serial: serials_from.max(serials_by_clock()),
            look_at: u64::MAX,
            blocks: None,
            reactor,
        }
    }

    /// Goes through these blocks, behind `last`.
    pub(crate) fn of_blocks(reactor: usize, last: u64, blocks: Arc<SerialBlocks>) -> Self {
        let mut source = Self {
            next_serial: last,
            look_at: last,
            blocks: Some(blocks),
            reactor,
        };
        source.look();
        source
    }

    /// The serial number that was handed out last.
    pub(crate) fn last_serial(&self) -> u64 {
        self.next_serial
    }

    /// Whether there is a name for another connection.
    pub(crate) fn has_next(&mut self) -> bool {
        self.next_serial < self.look_at || self.look()
    }

    /// Hands out a name, of which there has to be one.
    pub(crate) fn next(&mut self) -> Fd {
        self.next_serial += 1;
        Fd(self.next_serial << REACTOR_BITS | self.reactor as u64)
    }

    /// Goes on to the next block, or beyond half of the present one.
    #[cold]
    fn look(&mut self) -> bool {
        let Some(blocks) = &self.blocks else {
            return false;
        };
        let Some(block) = blocks.after(self.next_serial) else {
            blocks.look_behind(self.next_serial);
            return false;
        };
        let half = block.end - SERIALS_A_BLOCK / 2;
        self.next_serial = block.last;
        self.look_at = if block.last < half { half } else { block.end };
        if block.last >= half {
            blocks.look_behind(block.end);
        }
        true
    }
}

/// Returns a serial number greater than any that an earlier process can have handed out, as long
/// as the clock wasn't set back.
#[must_use]
pub fn serials_by_clock() -> u64 {
    let since_ms = unix_ms().saturating_sub(SERIAL_EPOCH_MS);
    since_ms * SERIALS_PER_MS
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn an_fd_is_below_2_to_53_and_names_its_reactor() {
        for reactor in [0, 1, REACTORS_MAX - 1] {
            let mut source = FdSource::new(reactor, 0);
            assert!(source.has_next());
            let (first, second) = (source.next(), source.next());
            assert!(second > first && second.0 < 1 << 53);
            assert_eq!(
                (first.reactor(), second.serial() - first.serial()),
                (reactor, 1)
            );
        }
    }

    #[test]
    fn serials_begin_behind_those_that_were_reserved() {
        let reserved = serials_by_clock() + 1_000_000_000;
        assert_eq!(FdSource::new(3, reserved).next().serial(), reserved + 1);
    }

    const BLOCK: u64 = SERIALS_A_BLOCK;

    fn blocks(starts: &[u64]) -> (Arc<SerialBlocks>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let runs_short = move || {
            count.fetch_add(1, SeqCst);
        };
        let blocks = SerialBlocks::new(starts.iter().copied(), runs_short);
        (Arc::new(blocks), asked)
    }

    fn take(source: &mut FdSource, count: u64) -> u64 {
        for _ in 0..count {
            assert!(source.has_next());
            source.next();
        }
        source.last_serial()
    }

    #[test]
    fn all_numbers_of_all_blocks_are_handed_out_and_no_others() {
        let (blocks, asked) = blocks(&[BLOCK, 5 * BLOCK]);
        let mut sources = [0, 1].map(|id| FdSource::of_blocks(id, 0, Arc::clone(&blocks)));
        for source in &mut sources {
            assert!(source.has_next());
            assert_eq!(source.next().serial(), BLOCK);
            assert_eq!(take(source, BLOCK - 1), 2 * BLOCK - 1);
            assert!(source.has_next());
            assert_eq!(source.next().serial(), 5 * BLOCK);
        }
        assert_eq!(asked.load(SeqCst), 0);
        take(&mut sources[0], BLOCK / 2);
        assert_eq!(asked.load(SeqCst), 1, "half of the last one is left");
        take(&mut sources[1], BLOCK - 1);
        assert_eq!(asked.load(SeqCst), 1, "once for all");
        assert!(!sources[1].has_next() && blocks.is_short());
        blocks.add(9 * BLOCK);
        assert!(sources[1].has_next() && !blocks.is_short());
        assert_eq!(sources[1].next().serial(), 9 * BLOCK);
        assert_eq!(take(&mut sources[0], BLOCK / 2), 9 * BLOCK);
    }

    #[test]
    fn another_image_goes_on_behind_the_last_number_and_no_block_is_taken_twice() {
        let (blocks, asked) = blocks(&[BLOCK, 2 * BLOCK]);
        blocks.add(2 * BLOCK);
        blocks.add(BLOCK);
        blocks.add(3 * BLOCK - 1);
        assert_eq!(blocks.starts(), [BLOCK, 2 * BLOCK]);
        for (last, first) in [
            (0, BLOCK),
            (BLOCK + 9, BLOCK + 10),
            (2 * BLOCK - 1, 2 * BLOCK),
        ] {
            let mut source = FdSource::of_blocks(0, last, Arc::clone(&blocks));
            assert_eq!(take(&mut source, 1), first);
        }
        assert_eq!(asked.load(SeqCst), 0);
        let mut source = FdSource::of_blocks(0, 3 * BLOCK - 1, Arc::clone(&blocks));
        assert!(!source.has_next());
        assert_eq!(asked.load(SeqCst), 1);
    }
}
