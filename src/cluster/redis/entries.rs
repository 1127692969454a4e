//! A call, as the arguments of its script.

use redis::Cmd;

use crate::base::ChannelKind;
use crate::cluster::call::{Call, Entry, Line, MessageEntry};
use crate::cluster::engine::{CallBounds, ChannelBounds};

/// Whether a full Redis may refuse the call: there is a message in it, or a membership that begins.
pub(super) fn needs_room(call: &Call) -> bool {
    call.entries.iter().any(|entry| {
        matches!(
            entry,
            Entry::Message(_) | Entry::Member { lasting: true, .. }
        )
    })
}

/// Adds the arguments of a call, as `call.lua` reads them.
pub(super) fn add_call(to: &mut Cmd, prefix: &str, call: &Call, bounds: &CallBounds) {
    let caller = &call.caller;
    to.arg(format!("{prefix}:")).arg(&*caller.node);
    to.arg(caller.generation).arg(call.number);
    to.arg(&*call.life.run).arg(call.life.era);
    let alive = call.alive.iter().map(|generation| format!("{generation},"));
    to.arg(alive.collect::<String>());
    to.arg(bounds.repeat_ms).arg(bounds.ids_max);
    to.arg(bounds.ids_unshared()).arg(bounds.ids_per_sender_max);
    for ChannelBounds {
        messages_max,
        size_max,
        ..
    } in [bounds.stored, bounds.memory]
    {
        to.arg(messages_max.max(1)).arg(size_max);
    }
    for entry in &call.entries {
        add_entry(to, entry);
    }
}

fn add_entry(to: &mut Cmd, entry: &Entry) {
    match entry {
        Entry::Message(message) => add_message(to, message),
        Entry::Purge { channel, epoch } => _ = to.arg("p").arg(&**channel).arg(epoch.to_string()),
        Entry::Trim { channel, through } => _ = to.arg("t").arg(&**channel).arg(*through),
        Entry::Ack {
            channel,
            uid,
            epoch,
            offset,
        } => {
            let epoch = epoch.map_or("-".into(), |epoch| epoch.to_string());
            to.arg("a").arg(&**channel).arg(&**uid);
            to.arg(epoch).arg(*offset);
        }
        Entry::Member { room, uid, lasting } => {
            let kind = if *lasting { "b1" } else { "b0" };
            to.arg(kind).arg(&**room).arg(&**uid);
        }
        Entry::Mark { producer, number } => _ = to.arg("k").arg(&**producer).arg(*number),
        Entry::Attach { line, reader } => {
            let asks = if reader.is_some() { 'r' } else { '-' };
            to.arg(format!("h{}{asks}", kind_of(line)));
            to.arg(&*line.channel).arg(line.new_epoch.to_string());
            if let Some(reader) = reader {
                to.arg(&**reader);
            }
        }
        Entry::Detach { channel } => _ = to.arg("d").arg(&**channel),
        Entry::Login {
            fd,
            uid,
            now_ms,
            connections_max,
            lines,
            bits,
            asks_acks,
        } => {
            to.arg(if *asks_acks { "la" } else { "l-" });
            to.arg(fd.0).arg(&**uid).arg(*now_ms).arg(*connections_max);
            to.arg(bits % (1 << 30)).arg(lines.len());
            for line in lines {
                to.arg(kind_of(line).to_string());
                to.arg(&*line.channel).arg(line.new_epoch.to_string());
            }
        }
        Entry::Nothing => _ = to.arg("0"),
    }
}

fn add_message(to: &mut Cmd, message: &MessageEntry) {
    let MessageEntry {
        first,
        second,
        payload,
        sameness,
        mark,
    } = message;
    let has = |is: bool, letter: u8| if is { letter } else { b'-' };
    let kind = [
        b'm',
        kind_of(first) as u8,
        second.as_ref().map_or(b'-', |line| kind_of(line) as u8),
        has(sameness.is_some(), b'i'),
        has(mark.is_some(), b'p'),
    ];
    to.arg(&kind[..]);
    to.arg(&*first.channel).arg(first.new_epoch.to_string());
    to.arg(&**payload);
    if let Some(line) = second {
        to.arg(&*line.channel).arg(line.new_epoch.to_string());
    }
    if let Some(sameness) = sameness {
        to.arg(&sameness.key.to_be_bytes()[..]).arg(sameness.owner);
    }
    if let Some((producer, number)) = mark {
        to.arg(&**producer).arg(*number);
    }
}

fn kind_of(line: &Line) -> char {
    match line.kind {
        ChannelKind::Stored => 's',
        ChannelKind::Memory => 'm',
        ChannelKind::None => 'n',
    }
}
