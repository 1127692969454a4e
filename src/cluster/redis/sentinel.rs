//! Where the primary is, by the Sentinels that watch it.

use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisError, RedisResult};

/// The longest wait for one Sentinel: the others are asked behind it.
const SENTINEL_MAX: Duration = Duration::from_millis(500);

/// Asks all Sentinels where the primary of this name is, and believes the one that knows of the latest
/// failover: another may still name the primary of before, which is up again and not yet a replica.
///
/// # Errors
///
/// The last one's: none knows it, or none is there.
pub(super) fn primary(
    sentinels: &[(String, u16)],
    name: &str,
    answer_max: Duration,
) -> Result<(String, u16), RedisError> {
    let kind = redis::ErrorKind::MasterNameNotFoundBySentinel;
    let unknown = || {
        (
            kind,
            "no Sentinel knows a primary of this name",
            name.to_owned(),
        )
    };
    let mut newest: Option<(u64, (String, u16))> = None;
    let mut refusal: RedisError = unknown().into();
    for (host, port) in sentinels {
        match ask(host, *port, name, answer_max.min(SENTINEL_MAX)) {
            Ok(Some(told)) if newest.as_ref().is_none_or(|known| told.0 > known.0) => {
                newest = Some(told);
            }
            Ok(Some(_)) => {}
            Ok(None) => refusal = unknown().into(),
            Err(error) => refusal = error,
        }
    }
    newest.map(|(_, place)| place).ok_or(refusal)
}

/// Asks one Sentinel for the primary, and for the number of the failover that made it one.
fn ask(
    host: &str,
    port: u16,
    name: &str,
    answer_max: Duration,
) -> RedisResult<Option<(u64, (String, u16))>> {
    let mut connection = connection(host, port, answer_max)?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTER").arg(name);
    // An error is the answer where it doesn't know the name; the next question says so.
    let facts: Vec<String> = command.query(&mut connection).unwrap_or_default();
    let mut facts = facts.chunks_exact(2);
    let failover = facts.find(|fact| fact[0] == "config-epoch");
    let failover = failover.and_then(|fact| fact[1].parse().ok()).unwrap_or(0);
    // Asked last: a place may be newer than its number, but never older.
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let place: Option<(String, u16)> = command.query(&mut connection)?;
    Ok(place.map(|place| (failover, place)))
}

fn connection(host: &str, port: u16, answer_max: Duration) -> RedisResult<redis::Connection> {
    let place = ConnectionAddr::Tcp(host.to_owned(), port);
    let client = Client::open(place.into_connection_info()?)?;
    let connection = client.get_connection_with_timeout(answer_max)?;
    connection.set_read_timeout(Some(answer_max))?;
    connection.set_write_timeout(Some(answer_max))?;
    Ok(connection)
}

/// Counts the replicas that the Sentinels know of this primary, the disconnected ones included: the most that
/// one of them says.
///
/// # Errors
///
/// The last one's: none of them said anything.
pub(super) fn replicas(
    sentinels: &[(String, u16)],
    name: &str,
    answer_max: Duration,
) -> Result<usize, RedisError> {
    let mut most = Err((
        redis::ErrorKind::MasterNameNotFoundBySentinel,
        "no Sentinel was asked",
    )
        .into());
    for (host, port) in sentinels {
        let found = connection(host, *port, answer_max).and_then(|mut connection| {
            let mut command = redis::cmd("SENTINEL");
            command.arg("REPLICAS").arg(name);
            command.query::<Vec<redis::Value>>(&mut connection)
        });
        most = match (most, found) {
            (Ok(most), Ok(found)) => Ok(found.len().max(most)),
            (Err(_), found) => found.map(|found| found.len()),
            (most, Err(_)) => most,
        };
    }
    most
}
