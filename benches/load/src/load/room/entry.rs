//! How members and publishers come into a room: connect, join, wait for each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Room, blanks, matcher};
use crate::client::dialect::Transport;
use crate::client::opener::open_all;
use crate::client::opening::{Handshake, OPENING_MAX, Open};
use crate::client::publisher::Publisher;
use crate::client::socket::send_frame;
use crate::client::source_addresses::SourceAddresses;
use crate::client::subscriber::Subscriber;
use crate::measure::failure::Failure;
use crate::measure::progress::Progress;
use crate::wire::frame::TEXT;

impl Room<'_> {
    pub(super) fn open_members(
        &mut self,
        sources: SourceAddresses,
        progress: &mut Progress,
    ) -> Result<Vec<Open>, Failure> {
        let handshake_of = |number: usize| {
            let blanks = blanks(number as u64, 0);
            Arc::new(
                self.server
                    .handshake(&self.dialect.member_path.filled(&blanks)),
            )
        };
        let count = self.members.len();
        let opened = open_all(&self.server.target, handshake_of, sources, count, progress)?;
        self.failures.merge(opened.failures);
        Ok(opened.connections)
    }

    pub(super) fn open_publishers(
        &mut self,
        sources: SourceAddresses,
        progress: &mut Progress,
    ) -> Result<Vec<Open>, Failure> {
        let handshake_of = |number: usize| {
            let blanks = self.publisher_blanks(number);
            Arc::new(match self.dialect.publish.transport() {
                Transport::Http | Transport::Tcp => Handshake::Nothing,
                Transport::WebSocket => {
                    (self.server).handshake(&self.dialect.publisher_path.filled(&blanks))
                }
            })
        };
        let count = self.publishers.len();
        let opened = open_all(&self.server.target, handshake_of, sources, count, progress)?;
        self.failures.merge(opened.failures);
        Ok(opened.connections)
    }

    /// Lets the members in; those that didn't come about are gone already.
    pub(super) fn add_members(&mut self, connections: Vec<Open>) -> Result<(), Failure> {
        let matcher = matcher(self.dialect);
        for open in connections {
            let key = open.number;
            let mut member = Subscriber::new(open.socket, &matcher);
            self.poll.add(member.socket(), key)?;
            let mut begun = member.begin(&open.rest, &matcher, |publisher, seq| {
                self.in_flight.deliver(key, publisher, seq, 0);
            });
            if let (Some(join), Ok(())) = (&self.dialect.join, &begun) {
                let text = join.filled(&blanks(key as u64, 0));
                begun = send_frame(member.socket(), TEXT, text.as_bytes());
            }
            match begun {
                Ok(()) => self.members[key] = Some(member),
                Err(failure) => self.failures.add(&failure),
            }
        }
        for key in (0..self.members.len()).filter(|&key| self.members[key].is_none()) {
            self.in_flight.leave(key);
        }
        Ok(())
    }

    pub(super) fn add_publishers(
        &mut self,
        connections: Vec<Open>,
        sources: SourceAddresses,
    ) -> Result<(), Failure> {
        for open in connections {
            let number = open.number;
            let publish = Arc::new(self.dialect.publish.clone());
            let (place, source) = (self.server.target.place(), sources.source_of(number));
            let mut publisher = Publisher::new(open, publish, place, source)?;
            self.poll
                .add(publisher.socket(), self.members.len() + number)?;
            if let Some(join) = self.dialect.join.as_ref()
                && self.dialect.publishers_join
                && publisher.is_by_frames()
            {
                let text = join.filled(&self.publisher_blanks(number));
                send_frame(publisher.socket(), TEXT, text.as_bytes())?;
            }
            publisher.flush()?;
            self.publishers[number] = Some(publisher);
        }
        Ok(())
    }

    /// Waits until all members are in, and the server is done with that.
    pub(super) fn join(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let end = Instant::now() + OPENING_MAX;
        loop {
            let present = self.members.iter().flatten();
            let waiting = present.filter(|member| !member.is_in()).count();
            if waiting == 0 || Instant::now() >= end {
                break;
            }
            self.turn(Duration::from_millis(50))?;
            progress.tick(|| format!("joining: {waiting} members wait"));
        }
        for key in 0..self.members.len() {
            if self.members[key]
                .as_ref()
                .is_some_and(|member| !member.is_in())
            {
                self.bury(key, &Failure::Timeout("joining"));
            }
        }
        self.listen(self.flags.settle)?;
        match self.members.iter().any(Option::is_some) {
            true => Ok(()),
            false => Err(Failure::Timeout("joining: nobody came in")),
        }
    }
}
