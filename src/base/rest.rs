//! Rest: threads that come to a stand for a while, each at a place where nothing of its own is under
//! way.
//!
//! Whoever freezes a program puts a [`RestOrder`] in force at the [`RestPoint`] of a thread, and sees
//! to it that the thread comes there. The order has a number: a thread that comes to an order which
//! was taken back meanwhile, or to a later one, doesn't rest.
//!
//! Threads that rest in a freeze say so once ([`take_part`]); all others are held back where they
//! would change something.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::sync::lock;

thread_local! {
    static TAKES_PART: Cell<bool> = const { Cell::new(false) };
}

/// Says that the present thread rests in a freeze, so that nobody has to hold it back.
pub fn take_part() {
    TAKES_PART.set(true);
}

/// Says the opposite.
pub fn take_no_part() {
    TAKES_PART.set(false);
}

/// Whether the present thread rests in a freeze.
#[must_use]
pub fn takes_part() -> bool {
    TAKES_PART.get()
}

/// An order to rest.
#[derive(Clone)]
pub struct RestOrder {
    number: u64,
    arrived: Arc<dyn Fn() + Send + Sync>,
}

impl RestOrder {
    /// Makes the order of the freeze of this number; `arrived` is called by the thread that rests.
    #[must_use]
    pub fn new(number: u64, arrived: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            number,
            arrived: Arc::new(arrived),
        }
    }

    /// Tells whoever gave the order that the thread rests.
    pub fn arrive(&self) {
        (self.arrived)();
    }

    /// The number of the freeze.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Debug for RestOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestOrder")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The place at which one thread rests.
#[derive(Debug, Default)]
pub struct RestPoint {
    order: Mutex<Option<RestOrder>>,
    taken_back: Condvar,
}

impl RestPoint {
    /// Puts an order in force.
    pub fn order(&self, order: RestOrder) {
        *lock(&self.order) = Some(order);
    }

    /// Takes the order back, if there is one: a thread that rests goes on.
    pub fn thaw(&self) {
        *lock(&self.order) = None;
        self.taken_back.notify_all();
    }

    /// The number of the order in force.
    #[must_use]
    pub fn ordered(&self) -> Option<u64> {
        lock(&self.order).as_ref().map(RestOrder::number)
    }

    /// Rests while the order of this number is in force; `false` if it wasn't.
    pub fn rest(&self, number: u64) -> bool {
        let order = lock(&self.order);
        let is_other =
            |order: &Option<RestOrder>| order.as_ref().is_none_or(|order| order.number != number);
        let Some(found) = order.clone().filter(|order| order.number == number) else {
            return false;
        };
        drop(order);
        found.arrive();
        let mut order = lock(&self.order);
        while !is_other(&order) {
            let waited = self.taken_back.wait(order);
            // Nobody panics under this lock.
            order = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_thread_rests_until_its_order_is_taken_back() {
        let point = Arc::new(RestPoint::default());
        let (tell, told) = channel();
        let arrived = tell.clone();
        point.order(RestOrder::new(7, move || arrived.send("rests").unwrap()));
        let theirs = Arc::clone(&point);
        let thread = thread::spawn(move || {
            assert!(theirs.rest(7));
            tell.send("goes on").unwrap();
        });
        assert_eq!(told.recv_timeout(PATIENCE), Ok("rests"));
        assert!(told.try_recv().is_err());
        point.thaw();
        assert_eq!(told.recv_timeout(PATIENCE), Ok("goes on"));
        thread.join().unwrap();
    }

    #[test]
    fn an_order_of_another_freeze_makes_nobody_rest() {
        let point = RestPoint::default();
        assert!(!point.rest(7));
        point.order(RestOrder::new(8, || panic!("nobody rests")));
        assert_eq!(point.ordered(), Some(8));
        assert!(!point.rest(7), "it is over");
        point.thaw();
        assert!(!point.rest(8) && point.ordered().is_none());
    }
}
