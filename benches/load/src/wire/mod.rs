//! Bytes and sockets: what clients and floors have in common.

pub(crate) mod frame;
pub(crate) mod frame_reader;
pub(crate) mod frame_scanner;
pub(crate) mod poll;
pub(crate) mod read;
pub(crate) mod repeat;
pub(crate) mod response;
