//! Turns of a reactor, one by one.

mod bench;
mod crowds;
mod frozen;
mod golden;
mod handed_anytime;
mod handed_outboxes;
mod handover;
mod images;
mod shares;
