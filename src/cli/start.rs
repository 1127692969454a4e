//! The start of a server: its address is free, its log says what starts, its limit of descriptors is
//! raised.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidings::server::{ListenAddress, ServerOutcome, is_free};

use super::log::LogFlags;
use crate::config::{ListenAddresses, Loaded, SettingFiles};
use crate::daemon::{DaemonState, SettingsRenewal};
use crate::service::{
    EarlySignals, ServiceStart, StartReport, are_sockets_given, detached, given_sockets,
    start_in_background,
};
use crate::version::version;

/// Descriptors below which a start warns: 1,024 is the limit that many systems give without being
/// asked, and too few for a chat of any size.
const DESCRIPTORS_FEW: u64 = 1_025;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct DetachFlag {
    /// Start in the background: print the number of the process and return once it is ready, or say
    /// why it isn't. Its log goes to the log file, or nowhere
    #[arg(short, long)]
    detach: bool,
}

impl DetachFlag {
    /// Runs a server in this process, or starts one with the same arguments in the background.
    pub(super) fn run(
        self,
        arguments: &[OsString],
        signals: EarlySignals,
        server: impl FnOnce(ServiceStart) -> anyhow::Result<ServerOutcome>,
    ) -> anyhow::Result<ExitCode> {
        let report = match self.detach {
            false => StartReport::default(),
            true => match detached().context("can't leave the terminal")? {
                Some(report) => report,
                None if are_sockets_given() => bail!(
                    "a server in the background can't take the sockets that LISTEN_FDS tells of: \
                     leave -d out, and let the service manager keep it in the background"
                ),
                None => return start_in_background(arguments),
            },
        };
        let ended = given_sockets().and_then(|sockets| {
            let report = report.clone();
            server(ServiceStart {
                report,
                sockets,
                signals,
            })
        });
        match &ended {
            Ok(_) => report.failed("the server was stopped before it was ready"),
            Err(error) => report.failed(&format!("{error:#}")),
        }
        exit_code(ended?)
    }
}

/// The exit code of a server that has ended.
pub(super) fn exit_code(ended: ServerOutcome) -> anyhow::Result<ExitCode> {
    Ok(match ended.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Reads the settings with `load`, starts the log, and returns the way to read them again.
pub(super) fn settings_of(
    log: &LogFlags,
    given: &[SocketAddr],
    files: &SettingFiles,
    load: impl Fn(&SettingFiles) -> anyhow::Result<Loaded> + Send + Sync + 'static,
) -> anyhow::Result<(Loaded, SettingsRenewal)> {
    let (given, log_flags) = (given.to_vec(), log.clone());
    let read = move |files: &SettingFiles| completed(load(files)?, &log_flags, &given);
    let loaded = read(files)?;
    let renewal = SettingsRenewal {
        set_log_level: log.start_with(&loaded.settings.log)?,
        read: Box::new(read),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok((loaded, renewal))
}

/// Has the flags of the log, and the addresses of the sockets that the server was started with, win over
/// settings.
pub(super) fn completed(
    mut loaded: Loaded,
    log: &LogFlags,
    given: &[SocketAddr],
) -> anyhow::Result<Loaded> {
    log.take_over(&mut loaded.settings.log);
    will_listen(&mut loaded, given)?;
    Ok(loaded)
}

/// Returns the addresses of the sockets that the server was started with.
pub(super) fn addresses_of(sockets: &[TcpListener]) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses = sockets.iter().map(TcpListener::local_addr);
    let addresses: Result<_, _> = addresses.collect();
    addresses.context("can't ask a socket for its address")
}

/// Returns the addresses of the sockets that a server was started with, as it has handed them over.
pub(super) fn given(state: &DaemonState) -> anyhow::Result<Vec<SocketAddr>> {
    let given = state.given.iter().map(|address| address.parse());
    let given: Result<_, _> = given.collect();
    given.context("an address that was handed over is none")
}

/// Puts the addresses of the sockets that the server was started with into the place of the setting.
fn will_listen(loaded: &mut Loaded, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let addresses = addresses.iter().copied().map(ListenAddress::from);
    loaded.settings.general.listen = ListenAddresses(addresses.collect());
    match loaded.settings.exposure(&loaded.access) {
        Some(what) => bail!(what),
        None => Ok(()),
    }
}

/// Fails when one of the addresses is taken, so that a start in vain leaves no folder behind; `free` is
/// a port that the error proposes.
pub(super) fn can_listen(addresses: &ListenAddresses, free: u16) -> anyhow::Result<()> {
    for wanted in &addresses.0 {
        let what = || format!("can't listen on {wanted}");
        match wanted {
            ListenAddress::Ip(address) => can_listen_on(*address, free)?,
            ListenAddress::Unix(path) => is_free(path).with_context(what)?,
            // Not each of a name's addresses has to be there.
            _ => drop(wanted.resolved().with_context(what)?),
        }
    }
    Ok(())
}

fn can_listen_on(address: SocketAddr, free: u16) -> anyhow::Result<()> {
    let what = || format!("can't listen on {address}");
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error)
            .with_context(|| {
                let other = SocketAddr::new(address.ip(), free);
                format!("another program has this port; --listen {other} takes another")
            })
            .with_context(what),
        Err(error) => Err(error).with_context(what),
    }
}

/// Logs what starts, and how many connections it can take.
pub(super) fn start_line(what: &str, listen: &ListenAddresses, data: &str) {
    raise_descriptor_limit();
    let descriptors_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    tracing::info!(
        version = version(),
        pid = std::process::id(),
        %listen,
        data,
        descriptors_max,
        "{what} is starting"
    );
    if descriptors_max < DESCRIPTORS_FEW {
        tracing::warn!(
            descriptors_max,
            "the limit of descriptors is low: each connection takes one; raise it with `ulimit -n` \
             or LimitNOFILE"
        );
    }
}

/// Raises the limit of descriptors as far as the system allows, since every connection takes one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of descriptors stays at {:?}", limit.current);
        }
    }
}
