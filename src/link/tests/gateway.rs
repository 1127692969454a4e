//! A push process of the simulation: a real sender, the socket of the moment, and the outbox that
//! outlives both.

use std::collections::BTreeMap;

use super::random::Random;
use super::server::Server;
use super::socket::Socket;
use super::{MESSAGES, PRODUCER, posting};
use crate::base::Tick;
use crate::link::{
    LinkIdentity, LinkLoss, LinkSender, LinkSettings, LinkState, NumberedPosting, SenderEvent,
};

/// What is on the gateway's disk.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The oldest number that is kept.
    pub(super) first: u64,
    /// The newest number that was acknowledged; `first` follows some time later.
    pub(super) acked: u64,
    /// What was refused for good, with the reason.
    pub(super) dead: BTreeMap<u64, String>,
}

#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) sender: LinkSender,
    socket: Option<usize>,
    wanted: Option<(u64, usize)>,
    /// Whether another one sends from the same outbox, and each makes the other's knowledge old.
    has_rival: bool,
}

impl Gateway {
    pub(super) fn new(now: Tick, outbox: &Outbox, random: &mut Random, has_rival: bool) -> Self {
        let settings = LinkSettings {
            on_way_max: 8,
            ..LinkSettings::default()
        };
        let identity = LinkIdentity {
            producer: PRODUCER.into(),
            name: "gw".into(),
        };
        let seed = random.below(u64::MAX);
        Self {
            sender: LinkSender::new(now, identity, settings, seed, (outbox.first, MESSAGES)),
            socket: None,
            wanted: None,
            has_rival,
        }
    }

    pub(super) fn socket(&self) -> Option<usize> {
        self.socket
    }

    /// Makes the socket that the link waits for.
    pub(super) fn connect(&mut self, now: Tick, sockets: &mut Vec<Socket>, server: &mut Server) {
        if self.sender.state() == LinkState::Connecting && self.socket.is_none() {
            server.accept(sockets.len());
            self.socket = Some(sockets.len());
            sockets.push(Socket::default());
            self.sender.connected(now);
        }
    }

    pub(super) fn write(&mut self, now: Tick, sockets: &mut [Socket]) {
        if let Some(at) = self.socket
            && let Some(frame) = self.sender.next_frame(now)
        {
            sockets[at].say_to_server(frame);
        }
    }

    pub(super) fn read(&mut self, now: Tick, sockets: &mut [Socket]) {
        let Some(at) = self.socket else { return };
        if let Some(text) = sockets[at].to_gateway.pop_front() {
            self.sender.receive(now, &text);
        } else if sockets[at].has_ended_for_gateway() {
            self.socket = None;
            self.sender.lost(now, LinkLoss::End);
        }
    }

    /// Gives the sender a page of the outbox, of any size.
    pub(super) fn feed(&mut self, now: Tick, outbox: &Outbox, random: &mut Random) {
        if let Some((after, count)) = self.wanted.take() {
            let last = MESSAGES.min(after + 1 + random.below(count as u64));
            let page = (outbox.first.max(after + 1)..=last).map(|n| NumberedPosting {
                n,
                posting: posting(n).into(),
            });
            self.sender.update_outbox(outbox.first, MESSAGES);
            self.sender.feed(now, after, page.collect());
        }
    }

    /// Does what the sender's events say, and checks them against what the server has on disk.
    pub(super) fn do_events(
        &mut self,
        outbox: &mut Outbox,
        sockets: &mut [Socket],
        server: &Server,
        random: &mut Random,
    ) {
        while let Some(event) = self.sender.next_event() {
            match event {
                SenderEvent::Connect => assert!(self.socket.is_none(), "a second socket"),
                SenderEvent::Cut | SenderEvent::Close => self.drop_socket(sockets, random),
                SenderEvent::Want { after, count } => self.wanted = Some((after, count)),
                SenderEvent::Acked { n } => {
                    assert!(n <= server.mark, "{n} isn't on disk");
                    outbox.acked = outbox.acked.max(n);
                }
                SenderEvent::Refused { n, why } => {
                    assert!(n <= server.mark, "{n} isn't on disk");
                    outbox.dead.insert(n, why.code);
                }
                SenderEvent::Lost { why, .. } => match why {
                    LinkLoss::Violation(_) | LinkLoss::OldOutbox { .. } => panic!("{why}"),
                    LinkLoss::Trimmed => assert!(self.has_rival, "{why}"),
                    _ => {}
                },
                SenderEvent::Jumped { .. } => panic!("no disk was lost: {event:?}"),
                SenderEvent::Opened { .. } => {}
            }
        }
    }

    pub(super) fn drop_socket(&mut self, sockets: &mut [Socket], random: &mut Random) {
        if let Some(at) = self.socket.take() {
            sockets[at].leave_as_gateway(random);
        }
    }
}
