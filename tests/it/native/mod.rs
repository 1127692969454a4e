//! The native protocol, spoken with the real binary.

mod closes;
mod commands;
mod errors;
mod presence;
mod rights;
mod rooms;
mod turns;
