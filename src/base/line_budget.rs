//! A bound for lines of the log that strangers can cause.

use std::time::{Duration, Instant};

/// Lines a second: enough to see each reason of a common mistake, and 100 KB a minute at the most
/// from each budget.
const LINES_A_SECOND_MAX: u32 = 10;

/// Counts the lines of one second.
#[derive(Debug, Default)]
pub struct LineBudget {
    /// The start of the second in which `written` lines were written.
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl LineBudget {
    /// Takes one line of the budget, and gives the number of those that were left out before it;
    /// `None` when this one has to be left out too.
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        let is_over = |second: &Instant| now.duration_since(*second) >= Duration::from_secs(1);
        if self.second.as_ref().is_none_or(is_over) {
            (self.second, self.written) = (Some(now), 0);
        }
        if self.written >= LINES_A_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_written_a_second_and_the_next_one_tells_how_many_were_not() {
        let (mut budget, start) = (LineBudget::default(), Instant::now());
        let lines = (0..100).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(budget.take(start + Duration::from_millis(999)), None);
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(91));
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(0));
    }
}
