//! Where the control socket is: for a server by its settings, and for a command that looks for it by the
//! same ones.

use std::path::{Path, PathBuf};

use clap::Args;

use super::files::SettingFiles;
use super::flags::{environment, set};
use super::problem::Problems;
use super::{Loader, Purpose, Settings, Sources};

/// The name of the socket in the folder of the data.
const FILE_NAME: &str = "control.sock";

/// The word that stands for no socket.
const NONE: &str = "none";

/// Bytes of the path of a Unix socket at most: `sun_path` has 108, and the last of them is 0.
const PATH_SIZE_MAX: usize = 107;

impl Settings {
    /// Returns the path of the control socket; `None` where there is none.
    #[must_use]
    pub fn control_path(&self, purpose: Purpose) -> Option<PathBuf> {
        let folder = match purpose {
            Purpose::Gateway => Some(PathBuf::from(&self.gateway.data)),
            Purpose::Serve | Purpose::Reading | Purpose::Cluster => self.data(),
        };
        match &*self.general.control {
            NONE => None,
            "" => folder.map(|folder| folder.join(FILE_NAME)),
            path => Some(path.into()),
        }
    }
}

impl Loader {
    /// Refuses a path that no socket can have.
    pub(super) fn validate_control(&mut self, purpose: Purpose) {
        let Some(path) = self.settings.control_path(purpose) else {
            return;
        };
        let size = path.as_os_str().len();
        if size > PATH_SIZE_MAX {
            let key = match (&*self.settings.general.control, purpose) {
                ("", Purpose::Gateway) => "gateway.data",
                ("", _) => "store.data",
                _ => "control",
            };
            let what = format!(
                "the control socket would be {}, which has {size} bytes, and the system takes \
                 {PATH_SIZE_MAX} at most: say control = \"/run/tidings.sock\", say, or \"none\"",
                path.display()
            );
            self.problem(key, what);
        }
    }
}

/// Flags of a command that asks a running server.
#[derive(Debug, Clone, Args)]
pub struct ControlFlags {
    /// Control socket of the server [default: where its settings put it] [env: TIDINGS_CONTROL]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// File with the settings of the server
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of its data [default: ./tidings-data, or ./tidings-outbox with --gateway] [env:
    /// TIDINGS_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Ask the gateway that has these settings
    #[arg(long)]
    gateway: bool,
    /// Any other setting that it was started with; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ControlFlags {
    /// Finds the control socket; `None` where the settings give none. What else is wrong in a file
    /// doesn't matter here: the server may run with what stood there before.
    ///
    /// # Errors
    ///
    /// The file can't be read, or a flag is wrong.
    pub fn path(&self) -> Result<Option<PathBuf>, Problems> {
        let (purpose, data) = match self.gateway {
            true => (Purpose::Gateway, "gateway.data"),
            false => (Purpose::Reading, "store.data"),
        };
        let mut flags = set(&self.set)?;
        for (key, value, flag) in [
            ("control", &self.control, "--control"),
            (data, &self.data, "--data"),
        ] {
            flags.extend(value.clone().map(|value| (key.into(), value, flag.into())));
        }
        let mut loader = Loader {
            is_lenient: true,
            ..Loader::default()
        };
        loader.read(&Sources {
            file: self.config.clone(),
            environment: environment(),
            flags,
            flag_variables: match self.gateway {
                true => &[("TIDINGS_DATA", "gateway.data")],
                false => &[("TIDINGS_DATA", "store.data")],
            },
            listen: None,
            purpose: Purpose::Reading,
            files: SettingFiles::OnDisk,
        });
        loader.problems.retain_all_but_lines();
        match loader.problems.count() {
            0 => Ok(loader.settings.control_path(purpose)),
            _ => Err(loader.problems),
        }
    }

    /// The words for a socket that isn't there by these settings.
    #[must_use]
    pub fn why_none(&self) -> String {
        let given = self.config.as_deref().map(Path::display);
        let by = given.map_or_else(String::new, |file| format!(" of {file}"));
        format!(
            "by the settings{by} there is no control socket: the server needs a folder of data, or a \
             setting control, and this command the same ones"
        )
    }
}
