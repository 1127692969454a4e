//! The reactors. They own the sockets and everything that belongs to one connection.
//!
//! A reactor is a thread with one `Poll`, and never waits anywhere but in `poll`. `reactor` holds
//! the loop: start there. `listener` binds and accepts, at a `listen_address`, with `socket_file` for a Unix socket; `slots` holds the connections, `outbox` the
//! bytes that wait for each, `wheel` the timers, `topics` the delivery sets, `gathering`
//! the deliveries that wait for more. Other threads reach a reactor through `command` and `mailbox`, and read `directory`,
//! `counters`, `budget` and `strangers`.

pub mod budget;
#[cfg(feature = "tls")]
mod certificates;
pub mod command;
pub mod counters;
pub mod directory;
pub mod frame_table;
pub mod freeze;
pub mod gathering;
mod handed_slot;
pub mod limits;
mod listen_address;
mod listener;
#[cfg(loom)]
mod loom_queue;
pub mod mailbox;

#[cfg(not(feature = "tls"))]
mod no_tls;
mod outbox;
mod preface;
pub mod proxies;
pub mod reactor;
mod refusals;
mod slots;
mod socket_file;
pub mod strangers;
#[cfg(feature = "tls")]
mod tls;
mod tls_outcome;
pub mod topics;
pub mod wheel;
#[cfg(feature = "tls")]
mod x509;

#[cfg(feature = "tls")]
pub use certificates::{
    CertificateError, CertificateInfo, TlsCertificates, TlsKeyPair, TlsVersion,
};
#[cfg(not(feature = "tls"))]
pub use no_tls::NoCertificates as TlsCertificates;
#[cfg(not(feature = "tls"))]
use no_tls::NoTls as Tls;
#[cfg(feature = "tls")]
use tls::Tls;

pub use listen_address::{ListenAddress, NoListenAddress};
pub use listener::{Families, HandedListener, Listener, listen, listen_at};
pub use socket_file::is_free;
pub(crate) use socket_file::{SocketFile, SocketFiles};
