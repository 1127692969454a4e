//! `tidings init`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::auth::fresh_secret;
use crate::config::template;
use crate::output::print;

const TOKEN_KEY: &str = "k1";
const API_KEY: &str = "backend";

/// Write a file with every setting in it, and fresh keys
///
/// Only its owner can read the file, and a file that is there already is never touched.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// File to write
    #[arg(long, default_value = "tidings.toml")]
    file: PathBuf,
}

impl InitArgs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let no_secret = "the system has no randomness for a secret";
        let text = template(
            (TOKEN_KEY, fresh_secret().context(no_secret)?),
            (API_KEY, fresh_secret().context(no_secret)?),
        );
        self.write(text.as_bytes())?;
        let file = self.file.display();
        print(format!(
            "wrote {file} with a fresh key for tokens ({TOKEN_KEY}) and one for a back end ({API_KEY})

next, start the server with it; then, in another terminal, make a token for each user, which comes
with a link that leads into the chat page, and send a message from the shell:
  tidings serve --config {file}
  tidings token --config {file} --uid ann --rooms lobby
  tidings token --config {file} --uid bob --rooms lobby
  tidings send --config {file} --room lobby 'hello from the shell'
  tidings listen --config {file} --room lobby"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        let path = self.file.display();
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.file);
        let mut file = match created {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{path} is there already and stays as it is; name another with --file")
            }
            Err(error) => return Err(error).with_context(|| format!("can't write {path}")),
        };
        let written = file.write_all(text);
        if written.is_err() {
            // Half a file would keep the next attempt from writing.
            fs::remove_file(&self.file).ok();
        }
        written.with_context(|| format!("can't write {path}"))
    }
}
