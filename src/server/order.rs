//! An order of the main thread to one that runs callbacks, which is void unless it is taken in time.
//!
//! Invariant: an order is either taken or cancelled, never both, and what it carries goes to whoever
//! was first.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;

use super::handlers::Handlers;
use crate::base::sync::lock;

/// An order to a reactor to call other callbacks.
pub(super) type ReactorOrder = Order<Arc<Handlers>>;

/// The orders that a reactor has been given.
pub(super) type ReactorOrders = Receiver<Arc<ReactorOrder>>;

/// An order to one thread.
#[derive(Debug)]
pub(super) struct Order<T> {
    number: u64,
    stage: Mutex<OrderStage<T>>,
}

#[derive(Debug, PartialEq, Eq)]
enum OrderStage<T> {
    Given(T),
    Taken,
    Done,
    Cancelled,
}

impl<T> Order<T> {
    /// Gives an order that carries `what`; the number tells it from earlier ones to the same thread.
    pub(super) fn new(number: u64, what: T) -> Self {
        let stage = Mutex::new(OrderStage::Given(what));
        Self { number, stage }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Takes the order, on the thread that it is for; `None` if it is void.
    pub(super) fn take(&self) -> Option<T> {
        self.leave_for(OrderStage::Taken)
    }

    /// Makes the order void; `None` if it has been taken, and is carried out.
    pub(super) fn cancel(&self) -> Option<T> {
        self.leave_for(OrderStage::Cancelled)
    }

    /// Notes that the order is carried out.
    pub(super) fn finish(&self) {
        *lock(&self.stage) = OrderStage::Done;
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(*lock(&self.stage), OrderStage::Done)
    }

    fn leave_for(&self, next: OrderStage<T>) -> Option<T> {
        let mut stage = lock(&self.stage);
        if !matches!(*stage, OrderStage::Given(_)) {
            return None;
        }
        match std::mem::replace(&mut *stage, next) {
            OrderStage::Given(what) => Some(what),
            OrderStage::Taken | OrderStage::Done | OrderStage::Cancelled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_cannot_be_cancelled_and_what_is_cancelled_cannot_be_taken() {
        let order = Order::new(1, "x");
        assert_eq!(order.take(), Some("x"));
        assert_eq!((order.cancel(), order.is_done()), (None, false));
        order.finish();
        assert!(order.is_done());
        let order = Order::new(2, "y");
        assert_eq!(order.cancel(), Some("y"));
        assert_eq!((order.take(), order.is_done()), (None, false));
    }
}
