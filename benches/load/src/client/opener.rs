//! Opens many connections, a bounded number of them at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::client::opening::{Handshake, Open, Opening};
use crate::client::source_addresses::SourceAddresses;
use crate::client::target::Target;
use crate::measure::failure::{Failure, Failures};
use crate::measure::progress::Progress;
use crate::wire::poll::Poll;

/// Connections that are being made at the same time; well below every server's backlog.
const OPENING_AT_ONCE_MAX: usize = 64;

/// What came of opening.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The connections that are open.
    pub(crate) connections: Vec<Open>,
    /// Those that failed.
    pub(crate) failures: Failures,
    /// When the first step was done until the last connection was open.
    pub(crate) took: Duration,
}

/// Opens `count` connections to `target`; each begins with the handshake of its number.
///
/// # Errors
///
/// The first failure that all further connections would meet too, such as a refused connection;
/// or the last one, when no connection came about at all.
pub(crate) fn open_all(
    target: &Target,
    handshake_of: impl Fn(usize) -> Arc<Handshake>,
    sources: SourceAddresses,
    count: usize,
    progress: &mut Progress,
) -> Result<Opened, Failure> {
    let (started, place) = (Instant::now(), target.place());
    let mut poll = Poll::new()?;
    let mut opening: Slab<(Opening, Arc<Handshake>)> = Slab::with_capacity(OPENING_AT_ONCE_MAX);
    let mut opened = Opened::default();
    let mut begun = 0;
    let mut last = None;
    while begun < count || !opening.is_empty() {
        while begun < count && opening.len() < OPENING_AT_ONCE_MAX {
            let next = Opening::start(&place, sources.source_of(begun), begun)?;
            let slot = opening.vacant_entry();
            poll.add(next.socket(), slot.key())?;
            slot.insert((next, handshake_of(begun)));
            begun += 1;
        }
        for index in 0..poll.wait(Duration::from_millis(200))? {
            let key = poll.ready(index).key;
            let Some((one, handshake)) = opening.get_mut(key) else {
                continue;
            };
            match one.advance(handshake) {
                Ok(false) => {}
                Ok(true) => opened.connections.extend(opening.remove(key).0.into_open()),
                Err(failure) if failure.is_final() => return Err(failure),
                Err(failure) => {
                    opening.remove(key);
                    opened.failures.add(&failure);
                    last = Some(failure);
                }
            }
        }
        last = expire(&mut opening, &mut opened.failures).or(last);
        progress.tick(|| format!("opening: {} of {count}", opened.connections.len()));
    }
    opened.took = started.elapsed();
    match last {
        Some(failure) if opened.connections.is_empty() => Err(failure),
        _ => Ok(opened),
    }
}

/// Drops what waits too long; gives one of them.
fn expire(
    opening: &mut Slab<(Opening, Arc<Handshake>)>,
    failures: &mut Failures,
) -> Option<Failure> {
    let now = Instant::now();
    let mut last = None;
    opening.retain(|_, (one, _)| {
        let late = one.is_late(now);
        if late {
            let failure = one.timeout();
            failures.add(&failure);
            last = Some(failure);
        }
        !late
    });
    last
}
