//! An endpoint goes on in the next image with all that it knew, and touches nothing before it begins.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::api::auth::OpenAccess;
use crate::base::Fd;
use crate::chat::{
    Actor, Epoch, Keep, Missing, NewMessage, Notice, Position, Recipient, SayOutcome, Sink, Welcome,
};
use crate::endpoint::LimitSettings;
use crate::endpoint::replays::ReplaySettings;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{ReplyTo, StoreTask};
use crate::handover::{HandoverHead, Section, SectionWriter};
use crate::store::{DiskSettings, Journal, MemoryStore, StoreSettings};

const PATIENCE: Duration = Duration::from_secs(30);

/// A section that the first version wrote, with records of each kind.
const EARLIER: &[u8] = include_bytes!("../../../tests/handovers/endpoint-1.section");

fn settings() -> EndpointSettings {
    EndpointSettings {
        node: "a".into(),
        message_size_max: 1_000,
        ping_s: 25,
        login_ms_max: 10_000,
        limits: LimitSettings::default(),
        sync: "never".into(),
        host_metrics: Vec::new,
        disk: DiskSettings::default(),
        lookups_max: 1_000,
        held_logins_max: 10_000,
        bindings: None,
        tables: None,
        replays: ReplaySettings {
            active_max: 1,
            ..ReplaySettings::default()
        },
    }
}

fn stored() -> ChatSettings {
    ChatSettings {
        kind: ChannelKind::Stored,
        ..ChatSettings::default()
    }
}

fn started(store: Box<dyn Store>) -> Endpoint {
    Endpoint::new(settings(), stored(), Box::new(OpenAccess), store).unwrap()
}

fn handed_over(endpoint: &Endpoint) -> Vec<u8> {
    let mut handover = HandoverWriter::new();
    endpoint.hand_over(&mut handover);
    handover.finish(&head())
}

fn take_over(bytes: &[u8], store: Box<dyn Store>) -> Result<Endpoint, TakeOverError> {
    let handover = Handover::read(bytes).unwrap();
    let access = Box::new(OpenAccess);
    Endpoint::take_over(settings(), stored(), access, store, &handover)
}

fn memory() -> Box<dyn Store> {
    Box::new(MemoryStore::new(StoreSettings::new("memory")))
}

/// Does something of everything that an endpoint keeps beside its chat.
fn use_it(endpoint: &Endpoint) {
    let Endpoint {
        services,
        sessions,
        links,
        ..
    } = endpoint;
    for fd in 1..=4 {
        services.chat.opened(Fd(fd));
    }
    let missing = Missing {
        after: Position {
            epoch: Epoch::from_bits(3),
            offset: 9,
        },
        gap: true,
    };
    for fd in 1..=2 {
        services.replays.begin(Fd(fd), &"tea".into(), missing);
    }
    sessions.use_everything();
    links.use_everything();
}

#[test]
fn an_endpoint_knows_the_same_in_the_next_image() {
    let endpoint = started(memory());
    // The threads end, so that nothing is done with what was begun.
    endpoint.finish();
    use_it(&endpoint);
    let bytes = handed_over(&endpoint);
    let next = take_over(&bytes, memory()).unwrap();
    assert_eq!(sections(&handed_over(&next)), sections(&bytes));
    assert_eq!(next.links.numbers(), endpoint.links.numbers());
    assert_eq!(next.services.replays.stats().under_way, 2);
    assert!(next.links.contains(Fd(9)) && !next.links.contains(Fd(8)));
    assert_eq!(next.serials.from, endpoint.serials.from);
    assert!(next.sessions.is_kicked(Fd(3)) && !next.sessions.is_kicked(Fd(2)));
    let refused = next.sessions.limit_metrics();
    assert_eq!(refused, endpoint.sessions.limit_metrics());
    let commits = |endpoint: &Endpoint| endpoint.services.reader.totals().commits;
    assert!(commits(&next) > 0 && commits(&next) == commits(&endpoint));
    assert!(next.links.closed(Fd(7)) && next.links.closed(Fd(9)));
    assert_eq!(next.links.numbers().open, 0);
    next.finish();
}

#[test]
fn those_that_are_ready_get_their_next_page_once_the_next_image_begins() {
    let endpoint = started(memory());
    endpoint.finish();
    use_it(&endpoint);
    let next = take_over(&handed_over(&endpoint), memory()).unwrap();
    assert_eq!(ready(&next), [Fd(1)], "the other waits for its place");
    next.services.begin();
    // The thread has taken the connection; without a server it gets no page.
    let began = std::time::Instant::now();
    while !ready(&next).is_empty() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    next.finish();
}

/// The connections whose next page is to be read.
fn ready(endpoint: &Endpoint) -> Vec<Fd> {
    let mut section = SectionWriter::new();
    endpoint.services.replays.hand_over(&mut section);
    let section = Section::of(ENDPOINT_FORMAT.name, 1, section.as_bytes());
    let ready = section.records().filter_map(|record| {
        let mut record = record.unwrap();
        if EndpointRecord::read(&mut record).unwrap() != EndpointRecord::Replays {
            return None;
        }
        let fd = Fd(record.u64().unwrap());
        record.optional(RecordReader::u64).unwrap();
        record.flag().unwrap().then_some(fd)
    });
    ready.collect()
}

/// All sections but for the moment.
fn sections(bytes: &[u8]) -> Vec<Vec<u8>> {
    let handover = Handover::read(bytes).unwrap();
    let endpoint = handover.needed("endpoint").unwrap();
    let skipped = endpoint.as_bytes()[0] as usize + 1;
    let chat = handover.needed("chat").unwrap().as_bytes();
    vec![chat.to_vec(), endpoint.as_bytes()[skipped..].to_vec()]
}

#[test]
fn the_clock_of_the_next_image_goes_on_from_the_handover_once_it_begins() {
    let endpoint = started(memory());
    while endpoint.services.tick() < Tick(30) {
        std::thread::yield_now();
    }
    let before = endpoint.services.tick();
    let bytes = handed_over(&endpoint);
    let after = endpoint.services.tick();
    endpoint.finish();
    let next = take_over(&bytes, memory()).unwrap();
    let stands_at = next.services.tick();
    assert!(before <= stands_at && stands_at <= after);
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(20) {
        std::thread::yield_now();
    }
    assert_eq!(next.services.tick(), stands_at, "it stands");
    next.services.begin();
    while next.services.tick() == stands_at {
        std::thread::yield_now();
    }
    assert!(next.services.tick() < after.after(10_000));
    next.finish();
}

#[test]
fn the_next_image_writes_nothing_before_it_begins_and_goes_on_where_the_disk_is() {
    let directory = tempfile::tempdir().unwrap();
    let open = || -> Box<dyn Store> {
        Box::new(Journal::open(StoreSettings::new(directory.path())).unwrap())
    };
    let endpoint = started(open());
    say(&endpoint);
    let bytes = handed_over(&endpoint);
    let below = endpoint.serials.below();
    endpoint.finish();
    let first = endpoint.services.reader.channel("tea").unwrap();
    let before = files(directory.path());
    let next = take_over(&bytes, open()).unwrap();
    assert_eq!(next.serials.below(), below, "no more are reserved");
    // It was stored and not delivered, since there was no server.
    let posted = next.services.chat.posted("tea").unwrap();
    assert_eq!((posted.epoch, posted.offset), (first.epoch, 1));
    store_something(&next);
    assert!(
        !next
            .services
            .disk
            .wait_until_done(Duration::from_millis(150))
    );
    assert_eq!(files(directory.path()), before);
    next.services.begin();
    assert!(next.services.disk.wait_until_done(PATIENCE));
    assert_ne!(files(directory.path()), before);
    say(&next);
    let second = next.services.reader.channel("tea").unwrap();
    assert_eq!((second.epoch, second.newest), (first.epoch, 2));
    next.finish();
}

#[test]
fn a_handover_without_one_of_the_sections_is_refused() {
    let endpoint = started(memory());
    endpoint.finish();
    let mut handover = HandoverWriter::new();
    let section = handover.section_of(CHAT_FORMAT);
    endpoint.services.chat.hand_over(section);
    let refused = take_over(&handover.finish(&head()), memory());
    assert_eq!(
        refused.map(drop).unwrap_err().to_string(),
        "section endpoint is missing from the handover"
    );
}

#[test]
fn whatever_byte_of_the_section_is_another_one_the_section_is_refused_or_agrees_with_itself() {
    let endpoint = started(memory());
    endpoint.finish();
    let mut chat = SectionWriter::new();
    endpoint.services.chat.hand_over(&mut chat);
    for at in 0..EARLIER.len() {
        let mut damaged = EARLIER.to_vec();
        damaged[at] ^= 1 << (at % 8);
        if let Ok(taken) = sections_taken(&chat, &damaged) {
            // Lists may have been out of order.
            let again = handed_over(&taken);
            taken.finish();
            let read = Handover::read(&again).unwrap();
            let section = read.needed("endpoint").unwrap();
            let twice = sections_taken(&chat, section.as_bytes()).unwrap();
            assert_eq!(sections(&handed_over(&twice)), sections(&again));
            twice.finish();
        }
    }
}

#[test]
fn the_section_of_an_earlier_version_is_taken_over_and_written_again_byte_for_byte() {
    let endpoint = started(memory());
    endpoint.finish();
    let mut chat = SectionWriter::new();
    endpoint.services.chat.hand_over(&mut chat);
    let next = sections_taken(&chat, EARLIER).unwrap();
    let again = handed_over(&next);
    next.finish();
    let again = Handover::read(&again).unwrap();
    assert_eq!(again.needed("endpoint").unwrap().as_bytes(), EARLIER);
    let kinds: Vec<_> = (again.needed("endpoint").unwrap().records())
        .map(|record| EndpointRecord::read(&mut record.unwrap()).unwrap())
        .collect();
    for kind in EndpointRecord::ALL {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

/// Takes over a section that stands alone; the endpoint hasn't begun.
fn sections_taken(chat: &SectionWriter, endpoint: &[u8]) -> Result<Endpoint, TakeOverError> {
    let chat = Section::of(CHAT_FORMAT.name, 1, chat.as_bytes());
    let endpoint = Section::of(ENDPOINT_FORMAT.name, 1, endpoint);
    let access = Box::new(OpenAccess);
    Endpoint::take_sections(settings(), stored(), access, memory(), (chat, endpoint))
}

fn head() -> HandoverHead {
    HandoverHead {
        program: "0".into(),
        pid: 1,
        tick: Tick(0),
        serials_from: 0,
    }
}

/// Says something in a room, and waits until it is stored.
fn say(endpoint: &Endpoint) {
    let message = NewMessage {
        from: None,
        id: None,
        keep: Keep::Yes,
        except: Vec::new(),
        data: "1",
    };
    let Services { chat, disk, .. } = &*endpoint.services;
    let (shop, tea) = (Actor::Key("shop"), Recipient::Room("tea"));
    let now = endpoint.services.now();
    let pending = match chat.say(&mut Nowhere, now, shop, tea, &message) {
        Ok(SayOutcome::Pending(pending)) => pending,
        other => panic!("{other:?}"),
    };
    let task = StoreTask::Say(pending, None);
    endpoint.services.store(task, ReplyTo::Nobody);
    assert!(disk.wait_until_done(PATIENCE));
}

fn store_something(endpoint: &Endpoint) {
    let task = StoreTask::Serials(endpoint.serials.below() + 1);
    endpoint.services.store(task, ReplyTo::Nobody);
}

/// Nobody hears it.
struct Nowhere;

impl Sink for Nowhere {
    fn publish(&mut self, _: &Arc<str>, _: &Notice<'_>) {}

    fn push(&mut self, _: Fd, _: &Notice<'_>) -> bool {
        true
    }

    fn welcome(&mut self, _: Fd, _: &[Welcome]) {}

    fn subscribe(&mut self, _: Fd, _: &Arc<str>, _: &[Notice<'_>]) {}

    fn replay(&mut self, _: Fd, _: &Arc<str>, _: Missing) {}

    fn forget(&mut self, _: &Arc<str>) {}

    fn claim(&mut self, _: &Arc<str>) {}

    fn drop_channel(&mut self, _: &Arc<str>, _: Epoch) {}

    fn unsubscribe(&mut self, _: Fd, _: &Arc<str>) {}
}

/// The names and the bytes of all files.
fn files(directory: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}
