//! `tidings serve` and `tidings gateway`, put together from the library's public face alone.

mod announce;
mod cross_origin;
mod deafness;
mod echo;
mod errand_counts;
mod gateway;
mod in_force;
mod keys;
mod life;
mod node;
mod node_serials;
mod origin;
mod paths;
mod rehearse;
mod reload;
mod serve;
mod standing;
mod storage;
mod upgrade;

use tidings::base::Metric;

use crate::output;

pub use gateway::gateway;
pub use rehearse::rehearse;
pub use reload::SettingsRenewal;
pub use serve::serve;
pub use upgrade::{COMMAND as REHEARSE, DaemonState, KNOWN, Thaw, refuse_changes};

/// Describes the numbers of this program that its library doesn't know.
fn host_metrics() -> Vec<Metric> {
    let own = [
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
    ];
    own.into_iter().chain(errand_counts::metrics()).collect()
}
