//! From a page of the store to notices for one connection, as a pure function.

use super::table::ClientReplay;
use crate::chat::{Missing, Notice, Position};
use crate::endpoint::stored::delivered;
use crate::store::LogPage;

/// Makes notices of a page up to the position that was delivered; a gap tells the client where the log
/// began anew or has dropped messages. Also gives what is missing after them.
pub(super) fn notices_of<'a>(
    replay: &'a ClientReplay,
    page: &'a LogPage,
    delivered_to: Position,
) -> (Vec<Notice<'a>>, Missing) {
    let channel = &*replay.channel;
    let mut missing = replay.missing;
    let mut notices = Vec::with_capacity(page.messages.len() + 1);
    if let Some(state) = page.state {
        let epoch = state.epoch;
        if epoch != delivered_to.epoch {
            // A new log is on disk and about to be delivered, or was delivered since the page was read.
            return (notices, missing);
        }
        if epoch != missing.after.epoch {
            // The page was asked for behind an offset of the log that is gone.
            let after = Position { epoch, offset: 0 };
            return (notices, Missing { after, gap: true });
        }
        if state.newest < missing.after.offset {
            // There never was a message at the place that the client names.
            missing.after.offset = state.newest.min(delivered_to.offset);
            missing.gap = true;
        }
        let floor = state.floor.min(delivered_to.offset);
        if floor > missing.after.offset {
            missing.after.offset = floor;
            missing.gap = true;
        }
    }
    if missing.gap {
        let position = missing.after;
        notices.push(Notice::Gap { channel, position });
        missing.gap = false;
    }
    let messages = page.messages.iter();
    for message in messages.take_while(|message| message.position.offset <= delivered_to.offset) {
        missing.after = message.position;
        notices.push(Notice::Message(delivered(channel, message)));
    }
    (notices, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::store::{ChannelState, MessageBody, StoredMessage};

    const OLD: Epoch = Epoch::from_bits(1);
    const NEW: Epoch = Epoch::from_bits(2);

    fn at(epoch: Epoch, offset: u64) -> Position {
        Position { epoch, offset }
    }

    fn behind(after: Position) -> ClientReplay {
        ClientReplay {
            id: 1,
            channel: "tea".into(),
            missing: Missing { after, gap: false },
        }
    }

    /// A page of a log that has these messages.
    fn page(epoch: Epoch, offsets: std::ops::RangeInclusive<u64>) -> LogPage {
        let state = ChannelState {
            epoch,
            floor: offsets.start() - 1,
            newest: *offsets.end(),
        };
        let messages = offsets.map(|offset| StoredMessage {
            position: Position { epoch, offset },
            body: MessageBody {
                id: "m".into(),
                from: None,
                to: None,
                ts: 0,
                data: "1".into(),
            },
        });
        LogPage {
            state: Some(state),
            messages: messages.collect(),
            more: false,
        }
    }

    /// Gives the positions that are sent, and what is missing after them.
    fn sent(after: Position, page: &LogPage, delivered_to: Position) -> (Vec<Position>, Missing) {
        let replay = behind(after);
        let (notices, missing) = notices_of(&replay, page, delivered_to);
        let places = notices.iter().map(|frame| match frame {
            Notice::Gap { position, .. } => *position,
            Notice::Message(message) => message.position.expect("a place"),
            other => panic!("{other:?}"),
        });
        (places.collect(), missing)
    }

    fn on(after: Position) -> Missing {
        Missing { after, gap: false }
    }

    #[test]
    fn what_is_stored_but_not_yet_posted_is_left_to_the_post() {
        let page = page(OLD, 1..=9);
        let (places, missing) = sent(at(OLD, 0), &page, at(OLD, 6));
        assert_eq!(
            places,
            (1..=6).map(|offset| at(OLD, offset)).collect::<Vec<_>>()
        );
        assert_eq!(missing, on(at(OLD, 6)));
    }

    #[test]
    fn a_log_that_began_anew_is_replayed_once_that_is_posted() {
        let page = page(NEW, 1..=3);
        let still = sent(at(OLD, 5), &page, at(OLD, 7));
        assert_eq!(still, (vec![], on(at(OLD, 5))));
        let (places, missing) = sent(at(OLD, 5), &page, at(NEW, 3));
        let from_its_start = Missing {
            after: at(NEW, 0),
            gap: true,
        };
        assert_eq!((places, missing), (vec![], from_its_start));
    }

    #[test]
    fn what_was_let_go_of_is_told_but_not_beyond_what_is_posted() {
        let page = page(OLD, 8..=9);
        assert_eq!(
            sent(at(OLD, 2), &page, at(OLD, 9)),
            (vec![at(OLD, 7), at(OLD, 8), at(OLD, 9)], on(at(OLD, 9)))
        );
        assert_eq!(
            sent(at(OLD, 2), &page, at(OLD, 5)),
            (vec![at(OLD, 5)], on(at(OLD, 5)))
        );
    }
}
