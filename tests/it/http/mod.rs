//! HTTP, and the API on it.

#[cfg(feature = "cli")]
mod api;
#[cfg(feature = "cli")]
mod balancers;
#[cfg(feature = "cli")]
mod browsers;
#[cfg(feature = "cli")]
mod by_token;
#[cfg(feature = "cli")]
mod doors;
#[cfg(feature = "cli")]
mod events;
mod properties;
#[cfg(feature = "cli")]
mod proxies;
#[cfg(feature = "cli")]
mod proxy_protocol;
#[cfg(feature = "cli")]
mod refusals;
#[cfg(feature = "cli")]
mod statuses;
#[cfg(feature = "cli")]
mod valid;
