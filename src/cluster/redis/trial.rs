//! What a trial has left behind.

use super::connection::RedisConnection;
use crate::chat::BindingError;
use crate::cluster::EngineSettings;

/// Keys that are looked at in one step.
const KEYS_A_STEP: usize = 1_000;

/// Deletes every key behind the prefix of these settings.
///
/// # Errors
///
/// [`BindingError`].
pub(in crate::cluster) fn erase(settings: &EngineSettings) -> Result<(), BindingError> {
    let mut connection = RedisConnection::open(settings)?;
    let pattern = format!("{}:*", settings.prefix);
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern);
        scan.arg("COUNT").arg(KEYS_A_STEP);
        let (next, keys): (u64, Vec<Vec<u8>>) = connection.ask(scan)?;
        if !keys.is_empty() {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&keys);
            connection.ask::<u64>(unlink)?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}
