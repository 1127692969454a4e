//! Addresses of engines: `redis://[USER@]HOST[:PORT][/NUMBER]`, `mysql://USER@HOST[:PORT]/DATABASE`, and
//! with `+unix` the path of a socket in place of the host;
//! `redis+sentinel://[USER@]HOST[:PORT],HOST[:PORT]/NAME[/NUMBER]`.

use std::fmt;
use std::path::PathBuf;

use super::StoreEngine;

/// The place of an engine and of what is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// The place that listens.
    pub place: EnginePlace,
    /// Who comes; empty for the engine's default.
    pub user: String,
    /// The database: its name, or in Redis its number.
    pub database: String,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePlace {
    /// Host and port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
    /// Wherever the primary is: Sentinels know it.
    Sentinel {
        /// Host and port of each Sentinel.
        sentinels: Vec<(String, u16)>,
        /// The name by which they know the primary.
        name: String,
    },
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFlaw {
    /// The scheme isn't one of this engine.
    Scheme,
    /// There is a password in it.
    Password,
    /// TLS is asked for.
    Tls,
    /// Several servers are asked for.
    Several,
    /// Redis Cluster is asked for.
    Cluster,
    /// The name is missing by which Sentinels know the primary.
    SentinelName,
    /// There is no host, or no path of a socket.
    Place,
    /// There is no database, or no number of one.
    Database,
    /// MySQL asks for a user.
    User,
}

impl fmt::Display for AddressFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "its scheme is unknown",
            Self::Password => "a password stands in a file of its own, never here",
            Self::Tls => "TLS to the store isn't there yet: use a socket, or a tunnel",
            Self::Several => "one server is used; several are named with redis+sentinel:// alone",
            Self::Cluster => "Redis Cluster isn't used, only one server, or Sentinel",
            Self::SentinelName => "the name is missing by which Sentinels know the primary",
            Self::Place => "the host is missing, or the path of the socket",
            Self::Database => "the database is missing, or no number",
            Self::User => "the user is missing",
        })
    }
}

impl StoreEngine {
    fn scheme(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MySql => "mysql",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Redis => 6379,
            Self::MySql => 3306,
        }
    }

    /// Where a Sentinel listens unless somebody says otherwise.
    const SENTINEL_PORT: u16 = 26_379;

    /// An example of an address, for people.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Redis => {
                "redis://127.0.0.1:6379, redis://user@10.0.0.5:6379/0, \
                 redis+unix:///run/redis/redis.sock or redis+sentinel://10.0.0.5,10.0.0.6,10.0.0.7/main"
            }
            Self::MySql => {
                "mysql://tidings@10.0.0.5:3306/chat or mysql+unix://tidings@/run/mysqld/mysqld.sock/chat"
            }
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`AddressFlaw`].
    pub fn address(self, text: &str) -> Result<StoreAddress, AddressFlaw> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressFlaw::Scheme)?;
        let way = match scheme.strip_prefix(self.scheme()) {
            Some("") => Self::host,
            Some("+unix") => Self::socket,
            Some("s") => return Err(AddressFlaw::Tls),
            Some("+cluster") => return Err(AddressFlaw::Cluster),
            Some("+sentinel") if self == Self::Redis => Self::sentinel,
            _ if scheme == "rediss" => return Err(AddressFlaw::Tls),
            _ => return Err(AddressFlaw::Scheme),
        };
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        if user.contains(':') {
            return Err(AddressFlaw::Password);
        } else if user.is_empty() && self == Self::MySql {
            return Err(AddressFlaw::User);
        }
        let (place, database) = way(self, rest)?;
        let is_number = database.parse::<u16>().is_ok();
        match self {
            Self::Redis if !(database.is_empty() || is_number) => Err(AddressFlaw::Database),
            Self::MySql if database.is_empty() || database.contains('/') => {
                Err(AddressFlaw::Database)
            }
            _ => Ok(StoreAddress {
                place,
                user: user.to_owned(),
                database,
            }),
        }
    }

    fn socket(self, rest: &str) -> Result<(EnginePlace, String), AddressFlaw> {
        let (path, database) = match self {
            // A socket's path ends with its name, and a database of Redis is a number.
            Self::Redis => match rest.rsplit_once('/') {
                Some((path, number)) if number.parse::<u16>().is_ok() => (path, number),
                _ => (rest, ""),
            },
            Self::MySql => rest.rsplit_once('/').ok_or(AddressFlaw::Place)?,
        };
        match path.starts_with('/') {
            true => Ok((EnginePlace::Unix(path.into()), database.to_owned())),
            false => Err(AddressFlaw::Place),
        }
    }

    fn host(self, rest: &str) -> Result<(EnginePlace, String), AddressFlaw> {
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        if place.contains(',') {
            return Err(AddressFlaw::Several);
        }
        let (host, port) = host_and_port(place, self.port())?;
        Ok((EnginePlace::Tcp(host, port), database.to_owned()))
    }

    fn sentinel(self, rest: &str) -> Result<(EnginePlace, String), AddressFlaw> {
        let (places, name) = rest.split_once('/').ok_or(AddressFlaw::SentinelName)?;
        let (name, database) = name.split_once('/').unwrap_or((name, ""));
        if name.is_empty() {
            return Err(AddressFlaw::SentinelName);
        }
        let sentinels = places.split(',');
        let sentinels = sentinels.map(|place| host_and_port(place, Self::SENTINEL_PORT));
        let place = EnginePlace::Sentinel {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            name: name.to_owned(),
        };
        Ok((place, database.to_owned()))
    }
}

fn host_and_port(place: &str, usual: u16) -> Result<(String, u16), AddressFlaw> {
    let bracket = place.rfind(']').unwrap_or(0);
    let (host, port) = match place.rfind(':').filter(|at| *at > bracket) {
        Some(at) => (&place[..at], place[at + 1..].parse().ok()),
        None => (place, Some(usual)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port {
        Some(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(AddressFlaw::Place),
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    match host.contains(':') {
        true => write!(f, "[{host}]:{port}"),
        false => write!(f, "{host}:{port}"),
    }
}

impl fmt::Display for EnginePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write_host(f, host, *port),
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Sentinel { sentinels, name } => {
                for (place, (host, port)) in sentinels.iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { "," })?;
                    write_host(f, host, *port)?;
                }
                write!(f, "/{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(engine: StoreEngine, text: &str) -> Result<(String, String, String), AddressFlaw> {
        let address = engine.address(text)?;
        Ok((address.place.to_string(), address.user, address.database))
    }

    fn parts(
        place: &str,
        user: &str,
        database: &str,
    ) -> Result<(String, String, String), AddressFlaw> {
        Ok((place.into(), user.into(), database.into()))
    }

    #[test]
    fn an_address_names_place_user_and_database() {
        use StoreEngine::{MySql, Redis};
        for (engine, text, read_as) in [
            (Redis, "redis://localhost", parts("localhost:6379", "", "")),
            (Redis, "redis://[::1]:7000/3", parts("[::1]:7000", "", "3")),
            (
                Redis,
                "redis://app@10.0.0.5",
                parts("10.0.0.5:6379", "app", ""),
            ),
            (
                Redis,
                "redis+unix:///run/r.sock",
                parts("/run/r.sock", "", ""),
            ),
            (
                Redis,
                "redis+unix:///run/r.sock/2",
                parts("/run/r.sock", "", "2"),
            ),
            (
                Redis,
                "redis+sentinel://app@a,[::1]:7,b/main",
                parts("a:26379,[::1]:7,b:26379/main", "app", ""),
            ),
            (
                Redis,
                "redis+sentinel://a/main/3",
                parts("a:26379/main", "", "3"),
            ),
            (MySql, "mysql://u@h/chat", parts("h:3306", "u", "chat")),
            (
                MySql,
                "mysql+unix://u@/run/m.sock/chat",
                parts("/run/m.sock", "u", "chat"),
            ),
        ] {
            assert_eq!(read(engine, text), read_as, "{text}");
        }
    }

    #[test]
    fn what_an_address_lacks_is_said_and_passwords_are_refused() {
        use StoreEngine::{MySql, Redis};
        for (engine, text, flaw) in [
            (Redis, "localhost:6379", AddressFlaw::Scheme),
            (Redis, "mysql://u@h/d", AddressFlaw::Scheme),
            (Redis, "redis://u:secret@h", AddressFlaw::Password),
            (Redis, "rediss://h", AddressFlaw::Tls),
            (Redis, "redis+cluster://h", AddressFlaw::Cluster),
            (Redis, "redis+sentinel://h,i,j", AddressFlaw::SentinelName),
            (Redis, "redis+sentinel://h,/main", AddressFlaw::Place),
            (Redis, "redis+sentinel://h/main/name", AddressFlaw::Database),
            (MySql, "mysql+sentinel://u@h/main", AddressFlaw::Scheme),
            (Redis, "redis://h,i", AddressFlaw::Several),
            (Redis, "redis://", AddressFlaw::Place),
            (Redis, "redis://h:port", AddressFlaw::Place),
            (Redis, "redis+unix://run/r.sock", AddressFlaw::Place),
            (Redis, "redis://h/name", AddressFlaw::Database),
            (MySql, "mysql://h/d", AddressFlaw::User),
            (MySql, "mysql://u@h", AddressFlaw::Database),
            (MySql, "mysql+unix://u@m.sock/d", AddressFlaw::Place),
        ] {
            assert_eq!(read(engine, text), Err(flaw), "{text}");
        }
    }
}
