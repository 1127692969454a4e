//! The modes that put load on a server.

pub(crate) mod connect;
pub(crate) mod delivery_audit;
pub(crate) mod dialect_flags;
pub(crate) mod driver;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod fanout_round;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod in_flight;
pub(crate) mod publish;
pub(crate) mod room;
pub(crate) mod room_flags;
mod talkers;
