//! What was asked and isn't answered yet, on one connection.

use std::collections::VecDeque;

use crate::client::load_client::Lap;
use crate::measure::failure::Failure;

/// Questions in the order of asking, by batch: what went out in one write was asked at one time.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    asked_ns: u64,
    count: u64,
}

impl Flights {
    /// Takes off `count` questions.
    pub(crate) fn ask(&mut self, count: u64, now_ns: u64) {
        self.batches.push_back(Batch {
            asked_ns: now_ns,
            count,
        });
    }

    /// Lands the oldest `answers` questions, and counts them in the lap.
    ///
    /// # Errors
    ///
    /// There are more answers than questions.
    pub(crate) fn land(
        &mut self,
        mut answers: u64,
        now_ns: u64,
        lap: &mut Lap,
    ) -> Result<(), Failure> {
        while answers > 0 {
            let Some(batch) = self.batches.front_mut() else {
                return Err(Failure::WrongEcho("more answers than questions".into()));
            };
            let count = batch.count.min(answers);
            lap.answered(now_ns.saturating_sub(batch.asked_ns), count);
            batch.count -= count;
            answers -= count;
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
        Ok(())
    }

    /// Forgets all questions: their connection is gone.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_land_in_the_order_of_asking_and_none_too_many() {
        let mut lap = Lap::new(std::time::Instant::now());
        lap.measuring = true;
        let mut flights = Flights::default();
        flights.ask(2, 1_000);
        flights.ask(1, 5_000);
        flights.land(1, 2_000, &mut lap).unwrap();
        flights.land(2, 6_000, &mut lap).unwrap();
        assert!(flights.land(1, 7_000, &mut lap).is_err());
        let latency = lap.into_latency();
        assert_eq!(latency.count(), 3);
        assert_eq!(
            (latency.quantile_us(0.0).round(), latency.max_us().round()),
            (1.0, 5.0)
        );
    }
}
