//! `tidings token`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::auth::{Algorithm, Claims, SigningKey, redacted};
use crate::client::ServerAddress;
use crate::config::{Loaded, Purpose, SettingFiles, SettingsFlags, is_open_to_others};
use crate::output::{print, tell};

/// Make a token for a user
///
/// It is signed with a key of the settings: with the first secret (HS256), or with the private half
/// of a public key, from a file. The token alone goes to standard output; standard error says for
/// whom it is, and has a link that leads into the chat page with it, where the page is on.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Name of the user
    #[arg(long)]
    uid: String,
    /// Rooms that the user may join, as patterns such as 'team-*'; several with commas, or given
    /// several times
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    rooms: Vec<String>,
    /// Time until the token expires: 90s, 15m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Key of the settings to sign with, by its name
    #[arg(long)]
    kid: Option<String>,
    /// File with the private key (PEM, PKCS #8) of a key for RS256 or ES256
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// File with the settings
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Address of the server for the link, where it isn't the one that the settings listen on, such
    /// as https://chat.example
    #[arg(long, env = "TIDINGS_URL")]
    url: Option<String>,
}

impl TokenArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.uid.is_empty() || self.uid.chars().any(char::is_control) {
            bail!("--uid takes a name without control characters");
        }
        let settings = SettingsFlags::default().with_file(self.config.clone());
        let loaded = settings.load(Purpose::Reading, &SettingFiles::OnDisk)?;
        let key = self.signing_key(&loaded)?;
        let server = self.server(&loaded)?;
        let now = SystemTime::now();
        let claims = Claims {
            expires_at: now + self.ttl,
            uid: self.uid,
            rooms: self.rooms,
        };
        let tokens = &loaded.access.tokens;
        let token = tokens
            .sign(&key, &claims, now)
            .context("can't sign with this key")?;
        let verified = tokens.verify(&token, now);
        verified.context("the server would refuse this token: is it the right private key?")?;
        print(&token)?;
        tell(made(&claims, self.ttl));
        let page = server.map(|server| server.page());
        match (loaded.settings.general.page.is_on(false), page) {
            (true, Some(page)) => tell(format!("open: {page}#token={token}")),
            (true, None) => {
                tell("no link: the settings listen on a free port or a Unix socket; --url".into())
            }
            (false, _) => tell("no link: the chat page is off; page = \"on\" turns it on".into()),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Where users find the server; `None` for a port that nobody knows yet.
    fn server(&self, loaded: &Loaded) -> anyhow::Result<Option<ServerAddress>> {
        let listen = loaded.settings.general.listen.reached();
        match &self.url {
            Some(url) => {
                let server = ServerAddress::parse(url).map_err(|what| anyhow!(what));
                server
                    .map(Some)
                    .with_context(|| format!("--url is {:?}", redacted(url)))
            }
            None => Ok(listen.map(ServerAddress::of_listener)),
        }
    }

    fn signing_key(&self, loaded: &Loaded) -> anyhow::Result<SigningKey> {
        let keys = loaded.access.tokens.keys();
        let wanted = |key: &&crate::auth::TokenKey| match &self.kid {
            Some(kid) => key.id() == kid,
            None => (key.algorithm() == Algorithm::HS256) == self.private_key.is_none(),
        };
        let Some(key) = keys.iter().find(wanted) else {
            bail!("{}", self.missing_key(keys.iter().map(|key| key.id())));
        };
        let (id, algorithm) = (key.id(), key.algorithm());
        match (&self.private_key, key.to_signing()) {
            (None, Some(key)) => Ok(key),
            (Some(path), None) => {
                let pem =
                    fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
                if is_open_to_others(path) {
                    tell(format!(
                        "warning: {} has a private key in it and can be read by others: chmod 600 it",
                        path.display()
                    ));
                }
                SigningKey::new(id, algorithm, &pem)
                    .with_context(|| format!("can't sign with {}", path.display()))
            }
            (None, None) => bail!(
                "{id} is for {algorithm}, and the settings have only its public half: \
                 name the file with the private one by --private-key"
            ),
            (Some(_), Some(_)) => bail!("{id} is for HS256: leave --private-key out"),
        }
    }

    fn missing_key<'a>(&self, ids: impl Iterator<Item = &'a str>) -> String {
        let ids: Vec<&str> = ids.collect();
        match (&self.kid, &*ids) {
            (_, []) => "the settings have no key for tokens: `tidings init` writes a file with \
                        one; name it by --config"
                .into(),
            (Some(kid), _) => format!("there is no key {kid:?}; there is {}", ids.join(", ")),
            (None, _) if self.private_key.is_none() => format!(
                "the settings have no secret; name the file with a private key by --private-key \
                 (for {})",
                ids.join(", ")
            ),
            (None, _) => "--private-key is for RS256 and ES256, and the settings have only \
                          secrets: leave it out"
                .into(),
        }
    }
}

/// Says for whom a token is, where it leads and how long it lasts.
fn made(claims: &Claims, ttl: Duration) -> String {
    let rooms = match &*claims.rooms {
        [] => "no room (--rooms names some)".to_owned(),
        rooms => rooms.join(", "),
    };
    let (seconds, uid) = (ttl.as_secs(), &claims.uid);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let unit = units.into_iter().find(|(unit, _)| seconds % unit == 0);
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("for {uid}, in {rooms}, for {}{name}", seconds / unit)
}

/// Reads a time to live: a number and a unit; without a unit the number counts seconds.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    const YEARS_100: u64 = 100 * 365 * 86_400;
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok();
    let seconds = seconds.and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=YEARS_100) => Ok(Duration::from_secs(seconds)),
        _ => Err("it takes a number with s, m, h or d, such as 1h, up to 100 years".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_a_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3_600),
            ("7d", 604_800),
        ] {
            assert_eq!(parse_ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "0",
            "h",
            "-1h",
            "1.5h",
            "1w",
            "1H",
            "99999999999999999999d",
            "36501d",
        ] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
