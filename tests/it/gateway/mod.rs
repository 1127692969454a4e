//! Two machines: a gateway, its push process, and upstreams behind a network that breaks.

mod contract;
pub mod everything_breaks;
mod faults;
mod freezes;
mod held;
mod limits;
pub mod machine;
mod pressure;
pub mod procfs;
mod proxy;
mod real;
mod reload;
mod renewal;
mod sender;
pub mod server;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod upstream;

use std::time::Duration;

/// A link that is back has to bring what waits within this time, also on a busy machine.
const FLOWS_WITHIN: Duration = Duration::from_secs(15);
