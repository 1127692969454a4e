//! What a server that stands still hands over of itself.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::kernel::{DescriptorKind, kind_of};
use super::server_state::{SERVER, ServerState};
use crate::base::Tick;
use crate::handover::{HandoverHead, HandoverWriter, SectionWriter};
use crate::net::frame_table::FRAMES;
use crate::net::reactor::REACTOR;
use crate::server::freeze::FrozenServer;
use crate::server::process::PROCESSES_FORMAT;
use crate::server::turns::{WAITING, hand_over_pauses};

/// A server, as it stands in a handover.
#[derive(Debug)]
pub struct ServerHandover {
    /// The head of the handover, but for the version of the program.
    pub head: HandoverHead,
    /// The descriptors that are carried.
    pub descriptors: Vec<(RawFd, DescriptorKind)>,
    /// The connections that are carried.
    pub connections: u64,
    /// The time for which nothing was read by now.
    pub hushed: Duration,
}

impl FrozenServer<'_> {
    /// Writes down what is the server's.
    ///
    /// # Errors
    ///
    /// There is something that can't be carried.
    pub fn hand_over(&mut self, writer: &mut HandoverWriter) -> Result<ServerHandover, String> {
        let mut head = HandoverHead {
            program: String::new(),
            pid: std::process::id(),
            tick: Tick(0),
            serials_from: 0,
        };
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for (id, reactor) in self.reactors.iter_mut().enumerate() {
            let section = std::mem::take(&mut reactor.section);
            let name = format!("{}.{id}", REACTOR.name);
            writer.insert(&name, REACTOR.version, reactor.oldest_reader, section);
            self.waiting.push(std::mem::take(&mut reactor.waiting));
            head.tick = head.tick.max(reactor.tick);
            head.serials_from = head.serials_from.max(reactor.last_serial);
            listeners.append(&mut reactor.listeners);
            sockets.append(&mut reactor.sockets);
        }
        self.frames.hand_over(writer.section_of(FRAMES));
        if !self.paused.is_empty() {
            // Behind those of the threads.
            let mut paused = SectionWriter::new();
            hand_over_pauses(&self.paused, &mut paused);
            self.waiting.push(paused);
        }
        for (thread, section) in self.waiting.drain(..).enumerate() {
            let name = format!("{}.{thread}", WAITING.name);
            writer.insert(&name, WAITING.version, WAITING.oldest_reader, section);
        }
        let state = ServerState {
            listeners: listeners.clone(),
            signals: self.signals.clone(),
            thaw_ms_max: self.thaw_ms_max,
        };
        state.write(writer.section_of(SERVER));
        let connections = sockets.len() as u64;
        let listeners = listeners.into_iter().map(|listener| listener.number);
        let descriptors = listeners.chain(sockets);
        let descriptors = descriptors.map(|number| (number, DescriptorKind::Socket));
        let mut descriptors: Vec<_> = descriptors.collect();
        descriptors.extend(self.hand_over_processes(writer)?);
        Ok(ServerHandover {
            head,
            descriptors,
            connections,
            hushed: self.began.elapsed(),
        })
    }

    /// Writes down the processes, if there are any, and lists the descriptors of their children.
    fn hand_over_processes(
        &mut self,
        writer: &mut HandoverWriter,
    ) -> Result<Vec<(RawFd, DescriptorKind)>, String> {
        if self.supervisor.is_empty() {
            return Ok(Vec::new());
        }
        let section = writer.section_of(PROCESSES_FORMAT);
        self.supervisor.hand_over(Instant::now(), section);
        let numbers = self.supervisor.descriptors().into_iter();
        // What a pidfd leads to differs from one kernel to another.
        let kinds = numbers.map(|number| Ok((number, kind_of(number)?)));
        let kinds = kinds.collect::<std::io::Result<_>>();
        kinds.map_err(|error| format!("a process can't be handed over: {error}"))
    }
}
