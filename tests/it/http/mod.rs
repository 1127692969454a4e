//! HTTP, and the API on it.

#[cfg(feature = "cli")]
mod api;
mod properties;
#[cfg(feature = "cli")]
mod statuses;
#[cfg(feature = "cli")]
mod valid;
