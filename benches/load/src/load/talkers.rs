//! Small talk beside a room: a few connections that each have one message under way, and hear its
//! echo.

use std::sync::Arc;

use clap::Args;

use crate::client::echo::{EchoClient, EchoScript};
use crate::client::opener::open_all;
use crate::client::server::Server;
use crate::measure::failure::{Failure, Failures};
use crate::measure::progress::Progress;
use crate::wire::frame::TEXT;

/// The flags of the talkers.
#[derive(Debug, Args)]
pub(crate) struct TalkerFlags {
    /// Connections that talk to themselves while the room runs, one message under way each: the
    /// report tells how long their answers take. Their CPU time counts with that of the deliveries.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) beside: u16,
    /// Where a server sends back what these connections say (tidings: with `serve --echo`).
    #[arg(long, value_name = "PATH", default_value = "/echo")]
    beside_path: String,
    /// What these connections say.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "How are you, and how is the weather there?"
    )]
    beside_text: String,
}

impl TalkerFlags {
    /// Opens the connections.
    ///
    /// # Errors
    ///
    /// None of them came about.
    pub(crate) fn open(
        &self,
        server: &Server,
        progress: &mut Progress,
    ) -> Result<(Vec<EchoClient>, Failures), Failure> {
        let count = usize::from(self.beside);
        if count == 0 {
            return Ok((Vec::new(), Failures::default()));
        }
        let handshake = Arc::new(server.handshake(&self.beside_path));
        let opened = open_all(
            &server.target,
            |_| Arc::clone(&handshake),
            server.sources(count),
            count,
            progress,
        )?;
        let text = self.beside_text.as_bytes();
        let script = Arc::new(EchoScript::new(TEXT, text, text, 1));
        let talker = |open| EchoClient::new(open, Arc::clone(&script), 1);
        let talkers = opened.connections.into_iter().map(talker).collect();
        Ok((talkers, opened.failures))
    }
}
