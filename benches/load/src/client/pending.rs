//! What was asked and isn't answered yet, on one connection.

use std::collections::VecDeque;

use crate::client::load_client::Interval;
use crate::measure::failure::Failure;

/// Questions in the order of asking, by batch: what went out in one write was asked at one time.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    batches: VecDeque<PendingBatch>,
}

#[derive(Debug)]
struct PendingBatch {
    asked_ns: u64,
    count: u64,
}

impl PendingRequests {
    /// Takes note of `count` questions that go out now.
    pub(crate) fn ask(&mut self, count: u64, now_ns: u64) {
        self.batches.push_back(PendingBatch {
            asked_ns: now_ns,
            count,
        });
    }

    /// Counts `answers` to the oldest questions, with the time that each took.
    ///
    /// # Errors
    ///
    /// There are more answers than questions.
    pub(crate) fn answer(
        &mut self,
        mut answers: u64,
        now_ns: u64,
        interval: &mut Interval,
    ) -> Result<(), Failure> {
        while answers > 0 {
            let Some(batch) = self.batches.front_mut() else {
                return Err(Failure::WrongEcho("more answers than questions".into()));
            };
            let count = batch.count.min(answers);
            interval.answered(now_ns.saturating_sub(batch.asked_ns), count);
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
    fn answers_count_in_the_order_of_asking_and_none_too_many() {
        let mut interval = Interval::new(std::time::Instant::now());
        interval.measuring = true;
        let mut pending = PendingRequests::default();
        pending.ask(2, 1_000);
        pending.ask(1, 5_000);
        pending.answer(1, 2_000, &mut interval).unwrap();
        pending.answer(2, 6_000, &mut interval).unwrap();
        assert!(pending.answer(1, 7_000, &mut interval).is_err());
        let latency = interval.into_latency();
        assert_eq!(latency.count(), 3);
        assert_eq!(
            (latency.quantile_us(0.0).round(), latency.max_us().round()),
            (1.0, 5.0)
        );
    }
}
