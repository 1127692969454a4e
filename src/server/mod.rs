//! The library's face, in Swoole's words.
//!
//! [`Server::builder`] takes an address and callbacks; [`Builder::run`] runs the server. Callbacks
//! get a [`WorkerHandle`] to push, publish, bind and set timers with; [`Handle`] does the same from
//! any thread. Events of one connection come in order on one worker, and its `on_close` comes last.
//!
//! A server's life goes through the files in this order: `builder` collects a `spec`, `start`
//! finds out what this process is for, `lifecycle` starts and ends the server, `spawn` makes its threads. An event goes from a reactor into `sinks`,
//! through `queue` to `worker`, `scheduler` says when it is handled, and `runner` calls the callback
//! of `handlers`; `light` ones stay on the reactor. Commands go back through `handle` and `delivery`.
//! `freeze` brings all of it to a stand, and lets it go on; `upgrade` has another image of the program go on
//! instead.

mod builder;
mod callback_control;
mod caretaker;
mod connection_job;
#[cfg(feature = "chat")]
pub(crate) mod deflated_text;
mod deflaters;
mod deflating;
mod delivery;
mod error;
mod freeze;
mod handle;
mod handler_set;
mod handlers;
mod late_handle;
mod lifecycle;
mod lifecycle_phase;
mod light;
mod listeners;
mod main_times;
mod message;
mod order;
mod orphans;
mod outcome;
mod pauses;
mod pressed;
pub mod process;
mod push_error;
mod queue;
mod renewal;
mod renewing;
mod responder;
mod runner;
mod running;
mod scheduler;
mod settings;
mod shared;
mod signal;
mod sinks;
mod spawn;
mod spec;
mod start;
mod start_parts;
mod stats;
mod succession;
mod thread_guard;
mod threads;
mod through_proxy;
mod timers;
mod turn;
mod turns;
#[doc(hidden)]
pub mod upgrade;
mod upgrading;
mod worker;

pub use builder::{Builder, WORKERS_MAX};
pub use deflaters::DeflateStats;
pub use delivery::{AtOnce, Delivery, PerBatch};
pub use error::ServerError;
#[doc(hidden)]
pub use freeze::{
    FreezeErrand, FreezeError, FreezeHolder, FreezeStep, FreezeTimes, Freezes, FrozenReactor,
    FrozenServer,
};
pub use handle::{ConnectionInfo, Handle, WorkerHandle};
pub use handler_set::{BoxError, HandlerSet};
pub use late_handle::LateHandle;
pub use message::{Frame, Message, Request};
pub use outcome::ServerOutcome;
pub use push_error::PushError;
pub use renewal::{Renewal, RenewalError, RenewalOutcome};
pub use responder::Responder;
pub use running::RunningServer;
pub use settings::ServerSettings;
pub use signal::{ServerSignal, is_hangup_ignored};
pub use stats::{QueueStats, Stats};
pub use timers::TimerId;
pub use upgrade::{FreezeSections, SectionError, ThawSections, ThawedSection, UpgradeOutcome};

pub use crate::base::pressure::{Pressure, Watermarks};
pub use crate::base::serial_blocks::{SERIALS_A_BLOCK, SerialBlocks};
pub use crate::base::{Fd, Network, NoNetwork, PeerAddress, Rollout};
pub use crate::net::directory::{BindError, ThroughProxy};
pub use crate::net::gathering::GatherBounds;
pub use crate::net::limits::ReactorLimits;
pub use crate::net::proxies::{ProxyHeader, ProxyRules};
#[cfg(feature = "tls")]
pub use crate::net::{CertificateError, CertificateInfo, TlsCertificates, TlsKeyPair, TlsVersion};
pub use crate::net::{ListenAddress, NoListenAddress, is_free};
pub use crate::proto::connection::{CloseReason, Limits, Verdict};
pub use crate::proto::http::{AnswerFields, Head, HttpLimits, Response};
pub use crate::proto::websocket::MessageKind;

/// The entry point of the library.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Makes a builder of a server with one reactor, one worker and no callbacks.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}
