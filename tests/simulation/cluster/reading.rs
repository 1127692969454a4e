//! Pages of the shared log for connections that come back.

use std::sync::Arc;

use tidings::chat::{CatchUp, Delivered, Missing, Notice, Position, ReplayPage};
use tidings::server::Fd;
use tidings::store::{LogPage, PageRange};

use super::node::{Node, Replay};

/// The thread that reads.
pub fn run(node: &Arc<Node>) {
    loop {
        let next = {
            let wanted = node.wanted();
            let mut all = (wanted.replays.iter())
                .flat_map(|(fd, own)| own.values().map(|replay| (*fd, replay.clone())));
            // Each in turn, as time goes.
            let count = wanted.replays.values().map(|own| own.len()).sum::<usize>();
            let at = node.baton.now() as usize % count.max(1);
            all.nth(at)
        };
        match next {
            Some((fd, replay)) => {
                serve(node, fd, &replay);
                node.baton.pause(1);
            }
            None => node.baton.rest(5_000),
        }
    }
}

fn serve(node: &Arc<Node>, fd: Fd, replay: &Replay) {
    let range = PageRange {
        after: Some(replay.missing.after.offset),
        before: None,
        limit: 4,
        bytes_max: 100_000,
    };
    let reader = node.cluster.reader();
    let Ok(page) = reader.page(&replay.channel, range) else {
        node.ledger.refused_login(node, fd);
        return;
    };
    let posted = node.chat.posted(&replay.channel);
    let (notices, missing) = notices_of(replay, &page, posted.unwrap_or(replay.missing.after));
    let is_current = || {
        let wanted = node.wanted();
        let own = (wanted.replays.get(&fd)).and_then(|own| own.get(&replay.channel));
        own.is_some_and(|one| one.id == replay.id)
    };
    let mut sink = node.sink(&[]);
    let page = ReplayPage {
        fd,
        channel: &replay.channel,
        notices: &notices,
        missing,
    };
    let caught = (node.chat).catch_up(&mut sink, node.moment(), page, is_current);
    let mut wanted = node.wanted();
    let Some(own) = wanted.replays.get_mut(&fd) else {
        return;
    };
    if own
        .get(&replay.channel)
        .is_some_and(|one| one.id == replay.id)
    {
        match caught {
            CatchUp::Behind(missing) => {
                own.get_mut(&replay.channel).expect("it is there").missing = missing;
            }
            CatchUp::Subscribed | CatchUp::Gone => drop(own.remove(&replay.channel)),
        }
    }
}

/// What is sent of a page where so much is posted, and where that leads.
fn notices_of<'a>(
    replay: &'a Replay,
    page: &'a LogPage,
    posted: Position,
) -> (Vec<Notice<'a>>, Missing) {
    let (channel, mut missing) = (&*replay.channel, replay.missing);
    let mut notices = Vec::new();
    if let Some(state) = page.state {
        let epoch = state.epoch;
        if epoch != posted.epoch {
            return (notices, missing);
        }
        if epoch != missing.after.epoch {
            let after = Position { epoch, offset: 0 };
            return (notices, Missing { after, gap: true });
        }
        if state.newest < missing.after.offset {
            missing.after.offset = state.newest.min(posted.offset);
            missing.gap = true;
        }
        let floor = state.floor.min(posted.offset);
        if floor > missing.after.offset {
            missing.after.offset = floor;
            missing.gap = true;
        }
    }
    if std::mem::take(&mut missing.gap) {
        let position = missing.after;
        notices.push(Notice::Gap { channel, position });
    }
    for message in &page.messages {
        if message.position.offset <= posted.offset {
            missing.after = message.position;
            notices.push(Notice::Message(Delivered {
                channel: Some(channel),
                position: Some(message.position),
                body: message.body.as_deref(),
                deflated: None,
            }));
        }
    }
    (notices, missing)
}
