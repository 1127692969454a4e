//! Output that is one thing over and over: prepared once, written from any place in it.

use std::io::{self, ErrorKind, Write};

/// One thing, repeated as often as one write may need it.
#[derive(Debug)]
pub(crate) struct Repeat {
    bytes: Vec<u8>,
    size: usize,
}

impl Repeat {
    /// Repeats `thing`, which must not be empty, `count` times, at least once.
    pub(crate) fn new(thing: &[u8], count: usize) -> Self {
        debug_assert!(!thing.is_empty(), "nothing can't be repeated");
        Self {
            bytes: thing.repeat(count.max(1)),
            size: thing.len(),
        }
    }

    /// Size of the thing, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// All repetitions.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes of a [`Repeat`] that a socket still has to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    bytes: usize,
}

impl Unsent {
    /// Adds `count` things.
    pub(crate) fn add(&mut self, count: usize, of: &Repeat) {
        self.bytes += count * of.size;
    }

    /// Writes until nothing is unsent or the socket is full.
    ///
    /// # Errors
    ///
    /// The socket is broken; that it is full is no error.
    pub(crate) fn write(&mut self, of: &Repeat, socket: impl Write) -> io::Result<()> {
        self.write_until(of, of.bytes.len(), socket)
    }

    /// Writes the rest of a thing that has been begun; says whether none is begun any more.
    ///
    /// # Errors
    ///
    /// The socket is broken; that it is full is no error.
    pub(crate) fn write_begun(&mut self, of: &Repeat, socket: impl Write) -> io::Result<bool> {
        let whole = self.bytes - self.bytes % of.size;
        let mut begun = Self {
            bytes: self.bytes - whole,
        };
        begun.write_until(of, of.size, socket)?;
        self.bytes = whole + begun.bytes;
        Ok(begun.bytes == 0)
    }

    fn write_until(&mut self, of: &Repeat, until: usize, mut socket: impl Write) -> io::Result<()> {
        while self.bytes > 0 {
            let begun = (of.size - self.bytes % of.size) % of.size;
            let end = until.min(begun + self.bytes);
            match socket.write(&of.bytes[begun..end]) {
                Ok(count) => self.bytes -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then is full.
    struct Narrow<'a> {
        taken: &'a mut Vec<u8>,
        room: usize,
    }

    impl Write for Narrow<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn however_little_the_socket_takes_the_things_arrive_whole() {
        let repeat = Repeat::new(b"abc", 2);
        for room in 1..20 {
            let (mut debt, mut taken) = (Unsent::default(), Vec::new());
            debt.add(5, &repeat);
            while debt != Unsent::default() {
                debt.write(
                    &repeat,
                    Narrow {
                        taken: &mut taken,
                        room,
                    },
                )
                .unwrap();
            }
            assert_eq!(taken, b"abcabcabcabcabc", "{room} bytes at once");
        }
    }

    #[test]
    fn what_is_begun_can_be_finished_alone() {
        let repeat = Repeat::new(b"abc", 2);
        let (mut debt, mut taken) = (Unsent::default(), Vec::new());
        debt.add(2, &repeat);
        assert!(
            debt.write_begun(
                &repeat,
                Narrow {
                    taken: &mut taken,
                    room: 9
                }
            )
            .unwrap()
        );
        debt.write(
            &repeat,
            Narrow {
                taken: &mut taken,
                room: 1,
            },
        )
        .unwrap();
        assert!(
            !debt
                .write_begun(
                    &repeat,
                    Narrow {
                        taken: &mut taken,
                        room: 1
                    }
                )
                .unwrap()
        );
        assert!(
            debt.write_begun(
                &repeat,
                Narrow {
                    taken: &mut taken,
                    room: 9
                }
            )
            .unwrap()
        );
        assert_eq!((taken.as_slice(), debt.bytes), (&b"abc"[..], 3));
    }
}
