//! `tidings serve`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;
use tidings::server::ServerOutcome;

use super::log::LogFlags;
use super::start::{
    DetachFlag, addresses_of, can_listen, pass_over_user_signals, start_line, will_listen,
};
use crate::config::{Loaded, Purpose, SettingsFlags};
use crate::daemon::{SettingsRenewal, serve};
use crate::service::ServiceStart;

/// Run the server
///
/// Open the address that it prints in two browser windows, and chat. SIGTERM and SIGINT stop it
/// gracefully, and so does a terminal that is closed: requests under way are answered, every WebSocket gets Close 1001, and the exit code is
/// 0. A second SIGTERM or SIGINT stops it at once.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    detach: DetachFlag,
    #[command(flatten)]
    settings: SettingsFlags,
}

impl ServeArgs {
    pub(super) fn run(self, log: &LogFlags, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
        let detach = self.detach;
        detach.run(arguments, |start| self.serve(log, start))
    }

    fn serve(self, log: &LogFlags, start: ServiceStart) -> anyhow::Result<ServerOutcome> {
        pass_over_user_signals()?;
        let addresses = addresses_of(&start.sockets)?;
        let (flags, log_flags) = (self.settings, log.clone());
        let read = move || {
            let mut loaded = flags.load(Purpose::Serve)?;
            log_flags.take_over(&mut loaded.settings.log);
            will_listen(&mut loaded, &addresses)?;
            Ok(loaded)
        };
        let loaded: Loaded = read()?;
        let renewal = SettingsRenewal {
            set_log_level: log.start_with(&loaded.settings.log)?,
            read: Box::new(read),
        };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let listen = loaded.settings.general.listen;
        if start.sockets.is_empty() {
            can_listen(listen, 9503)?;
        }
        start_line("server", listen, &loaded.settings.store.data);
        serve(loaded, renewal, start)
    }
}
