//! Loading settings: every source in its order, then the check of the whole.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Settings;
use super::environment::FlagVariables;
use super::files::{FileTexts, SettingFiles};
use super::problem::{Problems, SettingPlace};
use super::purpose::Purpose;
use super::tls::TlsPlan;
use crate::auth::{Access, Secret};
use tidings::cluster::{ClusterSettings, EngineSettings};
use tidings::server::ListenAddress;
use tidings::tls::TlsTrust;

/// The sources of settings; a later one wins over those before it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings file, in TOML.
    pub file: Option<PathBuf>,
    /// The environment; only variables that begin with `TIDINGS_` count.
    pub environment: Vec<(String, String)>,
    /// Settings from the command line: name, value, and the flag that gave it.
    pub flags: Vec<(String, String, String)>,
    /// Variables of the environment that are called like a flag of the command.
    pub flag_variables: FlagVariables,
    /// The default of `listen`, where it isn't that of [`GeneralSection`](super::GeneralSection).
    pub listen: Option<ListenAddress>,
    /// The command that will run with them.
    pub purpose: Purpose,
    /// Where files are read.
    pub files: SettingFiles,
}

/// Valid settings, and the keys that they hold.
#[derive(Debug)]
pub struct Loaded {
    /// The settings themselves.
    pub settings: Settings,
    /// Token keys and API keys, ready for use.
    pub access: Access,
    /// The first API key, for a command that asks the server as a back end does.
    pub api_key: Option<Secret>,
    /// The key that a gateway has to show to this server.
    pub uplink_key: Option<Secret>,
    /// The key that this gateway shows to its upstreams.
    pub link_key: Option<Secret>,
    /// Whom this gateway trusts at upstreams by TLS.
    pub(super) upstream_trust: TlsTrust,
    /// The engine that bindings are written to, if they are; of a node of a cluster that of its tables,
    /// where they aren't in the cluster's own.
    pub bindings: Option<EngineSettings>,
    /// How the server is a node of a cluster, if it is one.
    pub cluster: Option<ClusterSettings>,
    /// The certificates to show, if there are any.
    pub tls: Option<TlsPlan>,
    /// Warnings for the log, each one line: settings that are allowed but hardly meant.
    pub warnings: Vec<String>,
    /// The file that they were read from.
    pub file: Option<PathBuf>,
    /// The texts of all files that they were read from.
    pub texts: FileTexts,
    /// The place of each setting that a source has given, by the setting's whole name.
    pub(super) places: HashMap<String, SettingPlace>,
}

impl Loaded {
    /// Reads and validates settings.
    ///
    /// # Errors
    ///
    /// Every error in them, each with its place and the way to mend it.
    pub fn from(sources: &Sources) -> Result<Self, Problems> {
        let mut loader = Loader {
            files: sources.files.clone(),
            ..Loader::default()
        };
        loader.read(sources);
        let access = loader.validate();
        loader.validate_control(sources.purpose);
        let (uplink_key, link_key) = loader.link_keys();
        let upstream_trust = loader.upstream_trust();
        let tls = loader.tls();
        // A gateway has none.
        let (cluster, bindings) = match sources.purpose {
            Purpose::Gateway => (None, None),
            Purpose::Cluster if !loader.settings.is_node() => (None, None),
            Purpose::Cluster | Purpose::Serve | Purpose::Reading => {
                (loader.cluster(sources.purpose), loader.binding_engine())
            }
        };
        if loader.problems.count() > 0 {
            loader.problems.sort();
            return Err(loader.problems);
        }
        Ok(Self {
            settings: loader.settings,
            access,
            api_key: loader.api_key,
            uplink_key,
            link_key,
            upstream_trust,
            bindings,
            cluster,
            tls,
            warnings: loader.warnings,
            file: sources.file.clone(),
            texts: loader.texts,
            places: loader.places,
        })
    }
}

/// Settings while they are read, and the errors that were found so far.
#[derive(Debug, Default)]
pub(super) struct Loader {
    pub(super) settings: Settings,
    /// The place of each setting that a source has given, by the setting's whole name.
    pub(super) places: HashMap<String, SettingPlace>,
    /// Sections with a setting that couldn't be read; complaints that only follow from those are left
    /// out.
    pub(super) broken: HashSet<String>,
    /// The first API key that can be used.
    pub(super) api_key: Option<Secret>,
    /// The folder of the settings file; file names in it are relative to that folder.
    pub(super) folder: PathBuf,
    /// Where files are read, and what was found in them.
    pub(super) files: SettingFiles,
    pub(super) texts: FileTexts,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<String>,
    /// Whether the rest of a broken file is read, too.
    pub(super) is_lenient: bool,
}

impl Loader {
    /// Reads a file, or the first bytes of it.
    pub(super) fn read_file(&mut self, path: &Path, size_max: u64) -> io::Result<String> {
        self.files.read(path, size_max, &mut self.texts)
    }

    /// Reads every source in its order.
    pub(super) fn read(&mut self, sources: &Sources) {
        let listen = &mut self.settings.general.listen;
        if let Some(own) = &sources.listen {
            *listen = own.clone().into();
        }
        if let Some(path) = &sources.file {
            self.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            match self.read_file(path, u64::MAX) {
                Ok(text) => self.take_file(path, &text),
                Err(error) => self.problems.add(
                    Some(SettingPlace::File(path.clone(), 0)),
                    format!("can't read the settings: {error}"),
                ),
            }
        }
        self.take_environment(&sources.environment, sources.flag_variables);
        for (key, value, flag) in &sources.flags {
            let place = SettingPlace::Flag(flag.clone());
            self.take_text(key, value, &place);
            if let Some(command) = sources.purpose.stranger(key) {
                let what = format!("{key} is a setting of `{command}`, and changes nothing here");
                self.problems.add(Some(place), what);
            }
        }
    }
}
