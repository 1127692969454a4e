//! Who comes back hears everything that was said meanwhile, once and in order: while the room goes
//! on at full rate, after a restart, when it reads slowly, leaves, or is thrown out on the way. The
//! real binary, with its data on disk.
//!
//! `TIDINGS_CATCH_UP_FULL=1` has 200 clients come back at once; best with `--release`.

mod interrupted;
mod restart;
mod rush;
mod slow;
