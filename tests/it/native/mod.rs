//! The native protocol, spoken with the real binary.

mod closes;
mod commands;
mod errors;
mod kicks;
mod presence;
mod rights;
mod rooms;
mod turns;
