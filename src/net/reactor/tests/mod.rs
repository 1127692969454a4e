//! Turns of a reactor, one by one.

mod bench;
mod crowds;
mod handed_outboxes;
mod handover;
mod images;
mod shares;
