//! TLS for tests: an authority of the test's own, a server that takes TLS off, and whether the suites go
//! over it.

#[cfg(feature = "tls")]
pub mod authority;
#[cfg_attr(not(feature = "tls"), path = "nowhere.rs")]
pub mod everywhere;
#[cfg(feature = "tls")]
pub mod terminator;
