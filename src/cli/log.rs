//! The log: how much is logged, in which form.

use std::ffi::OsString;

use anyhow::Context;
use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogLevel, LogSection};
use crate::output::{LogWriter, OpenLogFile, log_panics};

/// Changes how much is logged. It can't fail while the program has its log.
pub(super) type LevelSetter = Box<dyn Fn(&LogLevel) + Send + Sync>;

#[derive(Debug, Clone, Args)]
pub(super) struct LogFlags {
    /// Form of the log on standard error: "text" for people, or "json", one object a line [default:
    /// text]
    #[arg(long, global = true, value_name = "FORMAT", env = "TIDINGS_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// How much to log: error, warn, info or debug; `info,tidings::net=debug` for a part of it
    /// [default: info]
    #[arg(long, global = true, value_name = "LEVEL", env = "TIDINGS_LOG_LEVEL")]
    log_level: Option<LogLevel>,
}

impl LogFlags {
    /// Starts the log of a command that has no settings of its own for it.
    pub(super) fn start(&self) -> LevelSetter {
        self.start_writing(&LogSection::default())
    }

    /// The flags for another process that shall log as this one does with these settings.
    pub(super) fn arguments(&self, settings: &LogSection) -> Vec<OsString> {
        let level = self.log_level.as_ref().unwrap_or(&settings.level);
        let format = match self.log_format.unwrap_or(settings.format) {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let level = level.0.as_str();
        let flags = ["--log-format", format, "--log-level", level].map(OsString::from);
        let file = settings.path().map(|path| path.as_os_str().to_owned());
        let file = file
            .into_iter()
            .flat_map(|path| ["--log-file".into(), path]);
        flags.into_iter().chain(file).collect()
    }

    /// Has the flags win over the settings of a file.
    pub(super) fn take_over(&self, settings: &mut LogSection) {
        if let Some(level) = &self.log_level {
            settings.level = level.clone();
        }
        if let Some(format) = self.log_format {
            settings.format = format;
        }
    }

    /// Starts the log in the file that the settings name.
    ///
    /// # Errors
    ///
    /// The file can't be opened.
    pub(super) fn start_with(&self, settings: &LogSection) -> anyhow::Result<LevelSetter> {
        if let Some(path) = settings.path() {
            OpenLogFile::open(path)
                .and_then(OpenLogFile::take_over)
                .with_context(|| format!("can't open the log file {}", path.display()))?;
        }
        Ok(self.start_writing(settings))
    }

    /// Starts the log; flags and environment win over these settings.
    fn start_writing(&self, settings: &LogSection) -> LevelSetter {
        let level = self.log_level.as_ref().unwrap_or(&settings.level);
        let builder = tracing_subscriber::fmt()
            .with_writer(|| LogWriter)
            // Internal errors would be printed to standard error directly.
            .log_internal_errors(false)
            .with_env_filter(EnvFilter::new(&level.0))
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
        let setter: LevelSetter = match self.log_format.unwrap_or(settings.format) {
            LogFormat::Text => {
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                Box::new(move |level| drop(handle.reload(EnvFilter::new(&level.0))))
            }
            LogFormat::Json => {
                let builder = builder.json().with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                Box::new(move |level| drop(handle.reload(EnvFilter::new(&level.0))))
            }
        };
        log_panics();
        setter
    }
}
