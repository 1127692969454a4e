//! The name of a connection.

use std::fmt;

use super::clock::unix_ms;

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
    reactor: usize,
}

impl FdSource {
    /// Starts after `serials_from`, or after the clock's serial number if that is greater: an
    /// earlier process may have got that far.
    pub(crate) fn new(reactor: usize, serials_from: u64) -> Self {
        Self {
            next_serial: serials_from.max(serials_by_clock()),
            reactor,
        }
    }

    /// The serial number that was handed out last.
    pub(crate) fn last_serial(&self) -> u64 {
        self.next_serial
    }

    pub(crate) fn next(&mut self) -> Fd {
        self.next_serial += 1;
        Fd(self.next_serial << REACTOR_BITS | self.reactor as u64)
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
    use super::*;

    #[test]
    fn an_fd_is_below_2_to_53_and_names_its_reactor() {
        for reactor in [0, 1, REACTORS_MAX - 1] {
            let mut source = FdSource::new(reactor, 0);
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
}
