//! Which server a command speaks to, and in whose name: `send` and `listen` find both in flags, in the
//! environment, or in the settings that the server runs with.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::auth::{Claims, Secret, SigningKey, TokenKey, Tokens, redacted, unverified};
use crate::client::{ClientError, ServerAddress};
use crate::config::{FILE, ListenAddresses, Loaded, Purpose, SettingFiles, SettingsFlags};
use tidings::tls::TlsTrust;

/// The room of a client that names none: the one that the chat page begins with.
const LOBBY: &str = "lobby";

#[derive(Debug, Clone, Args)]
pub(super) struct AccountFlags {
    /// The server, such as ws://127.0.0.1:9502/ws [default: where the settings listen]
    #[arg(long, env = "TIDINGS_URL")]
    url: Option<String>,
    /// User to be [default: the one of the token, or else of the account at the terminal]
    #[arg(long, env = "TIDINGS_UID")]
    uid: Option<String>,
    /// Token of a user, as `tidings token` makes it; better in TIDINGS_TOKEN, since others on this
    /// machine can see a flag until the program runs
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key of a back end, instead of a token; better in TIDINGS_API_KEY
    #[arg(long, env = "TIDINGS_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// File with the settings of the server, as `tidings init` writes it: its address and its first
    /// API key are used, or else a token that is signed with its first secret
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// File with the certificates, PEM, of the authorities that may have signed a wss:// server's own
    /// [default: the authorities that the system trusts]
    #[arg(long, value_name = "FILE", env = "TIDINGS_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Name that the certificate of a wss:// server is for, where its address is another one
    #[arg(long, value_name = "NAME", env = "TIDINGS_SERVER_NAME")]
    server_name: Option<String>,
}

/// A server, and somebody there.
pub(super) struct Account {
    pub(super) server: ServerAddress,
    /// The user, as far as it is known without asking the server.
    uid: Option<String>,
    proof: Proof,
}

/// What proves who somebody is.
enum Proof {
    /// Nothing, as in open mode.
    None,
    /// A token that was given, and the rooms that it names.
    Token(String, Vec<String>),
    /// An API key that was given.
    ApiKey(Secret),
    /// An API key of the settings.
    OwnApiKey(Secret),
    /// A key of the settings, with which tokens are made.
    Signing(Tokens, SigningKey),
}

impl AccountFlags {
    /// Finds server and user.
    ///
    /// # Errors
    ///
    /// The settings can't be used, or what was given contradicts itself.
    pub(super) fn account(&self) -> anyhow::Result<Account> {
        let is_proven = self.token.is_some() || self.api_key.is_some();
        // Whoever gives everything needs no settings, not even right ones.
        let loaded = match self.url.is_some() && is_proven {
            true => None,
            false => Some(
                SettingsFlags::default()
                    .with_file(self.config.clone())
                    .load(Purpose::Reading, &SettingFiles::OnDisk)?,
            ),
        };
        let server = match (&self.url, &loaded) {
            (Some(url), _) => ServerAddress::parse(url)
                .map_err(|what| anyhow!(what))
                .with_context(|| format!("--url is {:?}", redacted(url)))?,
            (None, loaded) => {
                let listen = loaded
                    .as_ref()
                    .map(|loaded| &loaded.settings.general.listen);
                match listen.and_then(ListenAddresses::reached) {
                    Some(address) => ServerAddress::of_listener(address),
                    None => bail!(
                        "the settings listen on a free port or a Unix socket: say where by --url"
                    ),
                }
            }
        };
        let server = server.trusting(self.trust()?);
        let proof = self.proof(loaded)?;
        let uid = match &proof {
            Proof::Token(token, _) => self.uid_of(token)?,
            _ => Some(self.uid.clone().unwrap_or_else(super::who_am_i)),
        };
        Ok(Account { server, uid, proof })
    }

    /// Whom to trust behind TLS.
    fn trust(&self) -> anyhow::Result<TlsTrust> {
        let name = self.server_name.as_deref();
        let Some(path) = &self.ca_file else {
            return Ok(TlsTrust::new(None, name));
        };
        TlsTrust::with_file(path, name)
            .with_context(|| format!("can't read --ca-file {}", path.display()))
    }

    fn proof(&self, loaded: Option<Loaded>) -> anyhow::Result<Proof> {
        if let Some(token) = &self.token {
            let rooms = unverified(token).map_or_else(Vec::new, |(_, rooms)| rooms);
            return Ok(Proof::Token(token.clone(), rooms));
        }
        if let Some(key) = &self.api_key {
            return Ok(Proof::ApiKey(Secret::from(key.clone())));
        }
        let Some(loaded) = loaded.filter(|loaded| !loaded.access.is_open()) else {
            return Ok(Proof::None);
        };
        if let Some(key) = loaded.api_key {
            return Ok(Proof::OwnApiKey(key));
        }
        let tokens = loaded.access.tokens;
        match tokens.keys().iter().find_map(TokenKey::to_signing) {
            Some(key) => Ok(Proof::Signing(tokens, key)),
            None => bail!(
                "the settings have no API key and no secret to sign a token with: \
                 give a token by --token (`tidings token --private-key FILE` makes one)"
            ),
        }
    }

    /// The user of a token that was given, if that can be read.
    fn uid_of(&self, token: &str) -> anyhow::Result<Option<String>> {
        let of_token = unverified(token).map(|(uid, _)| uid);
        match (&self.uid, &of_token) {
            (Some(uid), Some(other)) if uid != other => {
                bail!("the token is for {other:?}, not for {uid:?}; leave --uid out")
            }
            _ => Ok(of_token),
        }
    }
}

impl Account {
    /// The API key or token that a request by HTTP shows; a token of our own is for these rooms.
    ///
    /// # Errors
    ///
    /// The key of the settings can't sign.
    pub(super) fn bearer(&self, rooms: &[String], ttl: Duration) -> anyhow::Result<Option<String>> {
        Ok(match &self.proof {
            Proof::None => None,
            Proof::Token(token, _) => Some(token.clone()),
            Proof::ApiKey(key) | Proof::OwnApiKey(key) => Some(key.reveal().to_owned()),
            Proof::Signing(tokens, key) => {
                let now = SystemTime::now();
                let claims = Claims {
                    uid: self.uid.clone().unwrap_or_else(super::who_am_i),
                    rooms: rooms.to_vec(),
                    expires_at: now + ttl,
                };
                let token = tokens.sign(key, &claims, now);
                Some(token.context("can't sign with the secret of the settings")?)
            }
        })
    }

    /// The user in whose name a back end sends; a token says that itself.
    pub(super) fn from(&self) -> Option<&str> {
        match self.proof {
            Proof::Token(..) | Proof::Signing(..) => None,
            Proof::None | Proof::ApiKey(_) | Proof::OwnApiKey(_) => self.uid.as_deref(),
        }
    }

    /// The API key for the handshake, and the fields of a login, with a fresh token where one can be
    /// made.
    ///
    /// # Errors
    ///
    /// As [`Self::bearer`].
    pub(super) fn login(
        &self,
        rooms: &[String],
        ttl: Duration,
    ) -> anyhow::Result<(Option<String>, Value)> {
        let shown = self.bearer(rooms, ttl)?;
        Ok(match &self.proof {
            Proof::Token(..) | Proof::Signing(..) => {
                (None, json!({ "uid": self.uid, "token": shown }))
            }
            Proof::None | Proof::ApiKey(_) | Proof::OwnApiKey(_) => {
                (shown, json!({ "uid": self.uid }))
            }
        })
    }

    /// The rooms to be in where nobody says which: those that a token names, or the lobby.
    pub(super) fn usual_rooms(&self) -> Vec<String> {
        let Proof::Token(_, patterns) = &self.proof else {
            return vec![LOBBY.into()];
        };
        let named = patterns.iter().filter(|pattern| !pattern.contains('*'));
        let named: Vec<String> = named.cloned().collect();
        match named.is_empty() && patterns.iter().any(|pattern| pattern == "*") {
            true => vec![LOBBY.into()],
            false => named,
        }
    }

    /// Whether another login shows another token.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.proof, Proof::Signing(..))
    }

    /// Adds to a refusal what to do about it.
    pub(super) fn explain(&self, error: ClientError) -> anyhow::Error {
        let advice = match &self.proof {
            _ if !error.is_unauthorized() => None,
            Proof::None => Some(format!(
                "say --config FILE with the server's settings (`tidings init` writes {FILE}), \
                 --token or --api-key"
            )),
            Proof::Token(..) => Some("`tidings token` makes another token".to_owned()),
            Proof::ApiKey(_) => Some("--api-key is none of this server's keys".to_owned()),
            Proof::OwnApiKey(_) | Proof::Signing(..) => {
                Some("does the server run with other settings than these?".to_owned())
            }
        };
        match advice {
            Some(advice) => anyhow!("{error}; {advice}"),
            None => error.into(),
        }
    }
}
