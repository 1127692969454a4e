//! A socket between a gateway and a server: frames in order each way, until an end lets go of it.

use std::collections::VecDeque;

use super::random::Random;

/// One connection. What an end wrote before it let go may still arrive at the other end.
#[derive(Debug, Default)]
pub(super) struct Socket {
    pub(super) to_server: VecDeque<String>,
    pub(super) to_gateway: VecDeque<String>,
    pub(super) is_left_by_server: bool,
    pub(super) is_left_by_gateway: bool,
}

impl Socket {
    /// The gateway drops the socket; any number of the frames on the way still arrive.
    pub(super) fn leave_as_gateway(&mut self, random: &mut Random) {
        cut(&mut self.to_server, random);
        self.to_gateway.clear();
        self.is_left_by_gateway = true;
    }

    /// The server drops the socket; any number of the frames on the way still arrive.
    pub(super) fn leave_as_server(&mut self, random: &mut Random) {
        cut(&mut self.to_gateway, random);
        self.to_server.clear();
        self.is_left_by_server = true;
    }

    /// The server closes the socket in order: what it said before arrives.
    pub(super) fn close_as_server(&mut self) {
        self.to_server.clear();
        self.is_left_by_server = true;
    }

    /// The network goes away; each end notices once it has read what still arrives.
    pub(super) fn break_off(&mut self, random: &mut Random) {
        cut(&mut self.to_server, random);
        cut(&mut self.to_gateway, random);
        self.is_left_by_server = true;
        self.is_left_by_gateway = true;
    }

    pub(super) fn say_to_server(&mut self, frame: String) {
        if !self.is_left_by_server {
            self.to_server.push_back(frame);
        }
    }

    pub(super) fn say_to_gateway(&mut self, frame: String) {
        if !self.is_left_by_gateway {
            self.to_gateway.push_back(frame);
        }
    }

    /// Whether the gateway has read all, and there is nobody at the other end.
    pub(super) fn has_ended_for_gateway(&self) -> bool {
        self.is_left_by_server && self.to_gateway.is_empty()
    }

    /// Whether the server has read all, and there is nobody at the other end.
    pub(super) fn has_ended_for_server(&self) -> bool {
        self.is_left_by_gateway && self.to_server.is_empty()
    }
}

fn cut(frames: &mut VecDeque<String>, random: &mut Random) {
    let left = random.below(frames.len() as u64 + 1) as usize;
    frames.truncate(left);
}
