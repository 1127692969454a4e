//! What a node has the shared log do, as its disk thread does it: a batch, a commit, and then the answers.

use std::sync::Arc;

use tidings::base::Position;
use tidings::chat::{
    Attached, ChannelKind, ChatError, Epoch, Login, PendingMessage, Restored, Resume, Rights,
};
use tidings::cluster::clock::Clock;
use tidings::server::Fd;
use tidings::store::{
    Appended, Channel, EnteredChannels, LoginRecord, MessageRecord, OwnedChannel, Record, Store,
    StoreError,
};

use super::ledger::Told;
use super::node::Node;

/// Records of a batch at most.
const BATCH_MAX: usize = 16;

/// Tries of a login whose channels left the node meanwhile.
const TRIES_MAX: u32 = 20;

/// Time between two looks at what is due.
const MAINTAIN_MS: u64 = 100;

/// One thing to be done.
pub enum Job {
    Say(PendingMessage),
    Enter(Box<Entering>),
    Attach(Vec<OwnedChannel>),
    Detach(Arc<str>),
    Purge(String, Epoch),
    Member {
        room: String,
        uid: String,
        lasting: bool,
    },
}

/// A login or a join that waits for its channels.
pub struct Entering {
    pub fd: Fd,
    pub uid: &'static str,
    pub rooms: Vec<&'static str>,
    pub resume: Vec<(String, Resume)>,
    /// Whether the connection has logged in already, and only joins.
    pub joins: bool,
    pub channels: Vec<OwnedChannel>,
    pub tries: u32,
    pub now_ms: u64,
    /// What the chat had heard of lasting memberships when this was asked for.
    pub members_heard: u64,
}

impl Job {
    fn record<'a>(&'a self, node: &Node) -> Record<'a> {
        match self {
            Self::Say(pending) => message(node, pending),
            Self::Enter(entering) if entering.joins => Record::Attach {
                channel: entering.channels[0].as_channel(),
                reader: None,
            },
            Self::Enter(entering) => Record::Login(LoginRecord {
                fd: entering.fd,
                uid: entering.uid,
                now_ms: entering.now_ms,
                connections_max: 1_000,
                channels: &entering.channels,
                asks_acks: false,
            }),
            Self::Attach(channels) => Record::Attach {
                channel: channels[0].as_channel(),
                reader: None,
            },
            Self::Detach(channel) => Record::Detach { channel },
            Self::Purge(channel, epoch) => Record::Purge {
                channel,
                epoch: *epoch,
            },
            Self::Member { room, uid, lasting } => Record::Member {
                room,
                user: uid,
                lasting: *lasting,
            },
        }
    }
}

fn message<'a>(node: &Node, pending: &'a PendingMessage) -> Record<'a> {
    let (first, second) = pending.channels();
    let epochs = node.chat.epochs_of(pending);
    let channel = |name: &'a str, epoch| Channel {
        name,
        epoch,
        kind: node.chat.kind_in_log(pending, name),
    };
    Record::Message(MessageRecord {
        channel: channel(first, epochs.0),
        second: second
            .zip(epochs.1)
            .map(|(name, epoch)| channel(name, epoch)),
        body: pending.message().body(),
        idempotency_key: pending.idempotency_key(),
        id_owner: pending.id_owner(),
        opens: pending.is_opened(),
        mark: None,
        except: pending.except(),
    })
}

/// The thread that writes.
pub fn run(node: &Arc<Node>, mut store: Box<dyn Store>) {
    let mut maintain_at = 0;
    loop {
        let mut wanted = node.wanted();
        let count = wanted.jobs.len().min(BATCH_MAX);
        let jobs: Vec<Job> = wanted.jobs.drain(..count).collect();
        drop(wanted);
        if !jobs.is_empty() {
            write(node, &mut *store, jobs);
        }
        if node.baton.now() >= maintain_at {
            maintain_at = node.baton.now() + MAINTAIN_MS;
            // It is tried again the next time.
            let _ = store.maintain(node.clock.unix_ms());
        }
        match count {
            0 => node.baton.rest(MAINTAIN_MS),
            _ => node.baton.pause(0),
        }
    }
}

fn write(node: &Arc<Node>, store: &mut dyn Store, jobs: Vec<Job>) {
    let now = node.clock.unix_ms();
    let each = jobs.iter();
    let mut outcomes: Vec<_> = each
        .map(|job| store.append(now, &job.record(node)))
        .collect();
    let committed = store.commit();
    let entered = store.settle(&mut outcomes);
    committed.expect("outcomes tell what went wrong");
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        done(node, job, outcome, &entered);
    }
}

fn done(
    node: &Arc<Node>,
    job: Job,
    outcome: Result<Appended, StoreError>,
    entered: &[EnteredChannels],
) {
    match (job, outcome) {
        (Job::Say(pending), outcome) => said(node, &pending, outcome),
        (Job::Enter(entering), Ok(Appended::Entered(place))) => {
            let login = (!entering.joins).then_some((entering.uid, entering.members_heard));
            take(node, &entered[place as usize], login);
            enter(node, *entering);
        }
        (Job::Attach(mut channels), outcome) => {
            if let Ok(Appended::Entered(place)) = outcome {
                take(node, &entered[place as usize], None);
            }
            channels.remove(0);
            if !channels.is_empty() {
                node.submit(Job::Attach(channels));
            }
        }
        (Job::Detach(channel), _) => node.chat.detached(&channel),
        (Job::Purge(channel, epoch), Ok(_)) => {
            let mut sink = node.sink(&[]);
            node.chat.purged(&mut sink, &channel, epoch);
        }
        // They are told that it didn't work, and go.
        (Job::Enter(entering), Err(_)) => node.ledger.refused_login(node, entering.fd),
        (Job::Purge(..) | Job::Member { .. }, _) => {}
        (_, other) => panic!("{other:?}"),
    }
}

fn said(node: &Node, pending: &PendingMessage, outcome: Result<Appended, StoreError>) {
    let told = match outcome {
        Ok(Appended::Sent { first, .. }) => Told::Ok(first),
        Ok(Appended::Repeat(first)) => Told::Repeat((first.epoch != Epoch::NONE).then_some(first)),
        Err(StoreError::Unsettled) => Told::Unknown,
        Err(_) => Told::NotTaken,
        Ok(other) => panic!("{other:?}"),
    };
    let channel = pending.channels().0;
    node.ledger.told(pending.message().id(), channel, told);
}

/// Takes into the chat what the log says of channels.
fn take(node: &Arc<Node>, entered: &EnteredChannels, login: Option<(&str, u64)>) {
    for (channel, state) in &entered.channels {
        let newest = Position {
            epoch: state.epoch,
            offset: state.newest,
        };
        let attached = (node.chat).attach(node.moment().tick, channel, newest, state.floor);
        if attached == Attached::Behind {
            node.catch_up(channel);
        }
    }
    if let Some((uid, heard)) = login {
        for (channel, offset) in &entered.acks {
            node.chat.restore(Restored::Ack {
                channel,
                uid,
                offset: *offset,
            });
        }
        let mut sink = node.sink(&[]);
        // The login itself finds what is missing.
        let (now, rooms) = (node.moment(), &entered.lasting);
        let _ = (node.chat).set_lasting_rooms(&mut sink, now, uid, rooms, heard);
    }
}

/// Logs a connection in, or has it join, if its channels are here.
pub fn enter(node: &Arc<Node>, mut entering: Entering) {
    let wishes: Vec<(&str, Resume)> = (entering.resume.iter())
        .map(|(name, from)| (&**name, *from))
        .collect();
    let mut sink = node.sink(&wishes);
    if !node.reactors.is_open(entering.fd) {
        return;
    }
    let entered = match entering.joins {
        true => {
            let (room, from) = (entering.rooms[0], wishes[0].1);
            (node.chat)
                .join(&mut sink, node.moment(), entering.fd, room, from)
                .map(|_| ())
        }
        false => {
            let login = Login {
                fd: entering.fd,
                uid: entering.uid,
                rights: Arc::new(Rights::Open),
                rooms: &entering.rooms,
                resume: &wishes,
            };
            (node.chat)
                .login(&mut sink, node.moment(), &login)
                .map(|_| ())
        }
    };
    match entered {
        Ok(()) => node.ledger.entered(entering.fd),
        Err(ChatError::NotAttached(names)) => {
            entering.tries += 1;
            if entering.tries > TRIES_MAX {
                return node.ledger.refused_login(node, entering.fd);
            }
            entering.members_heard = node.chat.members_heard();
            entering.channels = owned(node, &names);
            if !entering.joins {
                let own = format!("@{}", entering.uid);
                let is_there = entering.channels.iter().any(|one| *one.name == *own);
                if !is_there {
                    entering.channels.extend(owned(node, &[own.into()]));
                }
            }
            node.submit(Job::Enter(Box::new(entering)));
        }
        // It was logged in by an earlier job of the same kind.
        Err(error) => panic!("{}: {error}", entering.uid),
    }
}

pub fn owned(node: &Node, names: &[Box<str>]) -> Vec<OwnedChannel> {
    let owned = |name: &str| OwnedChannel {
        name: name.into(),
        epoch: node.chat.new_epoch(),
        kind: ChannelKind::Stored,
    };
    names.iter().map(|name| owned(name)).collect()
}
