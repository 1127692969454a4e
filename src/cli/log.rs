//! Where the log goes, and how much of it.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How the log looks.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct LogFlags {
    /// Log on standard error as text for people, or as JSON, a line an event
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "TIDINGS_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// How much to log: error, warn, info or debug; `info,tidings::net=debug` for a part of it
    #[arg(long, global = true, default_value = "info", env = "TIDINGS_LOG_LEVEL")]
    log_level: EnvFilter,
}

impl LogFlags {
    pub(super) fn start(&self) {
        let builder = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(self.log_level.clone())
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
    }
}
