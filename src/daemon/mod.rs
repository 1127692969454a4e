//! `tidings serve` and `tidings gateway`, put together from the library's public face alone.

mod announce;
mod echo;
mod gateway;
mod in_force;
mod keys;
mod life;
mod origin;
mod paths;
mod reload;
mod serve;
mod standing;
mod storage;

use tidings::base::Metric;

use crate::output;

pub use gateway::gateway;
pub use reload::SettingsRenewal;
pub use serve::serve;

/// Describes the numbers of this program that its library doesn't know.
fn host_metrics() -> Vec<Metric> {
    vec![
        Metric::counter(
            "log_dropped",
            "Lines of the log that were dropped, since they could not be written.",
            output::log_dropped(),
        ),
        Metric::gauge(
            "settings_generation",
            "The settings in force: 1 since the start, and one more after each reload.",
            reload::generation(),
        ),
    ]
}
