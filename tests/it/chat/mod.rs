//! What the chat costs, and how much of it one client may have.

mod beside;
mod costs;
mod deflate;
mod gather;
mod latest;
mod limits;
mod shares;
