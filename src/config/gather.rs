//! A type of setting for deliveries that wait for more: `live-* delay=20ms`.

use super::channel_rule::{TIMES, channel_rule};
use super::types::SettingText;
use tidings::chat::Pattern;

/// The longest delay, in milliseconds: a round number far above what makes writes fewer, and below
/// the time after which a client takes a server for dead.
const DELAY_MS_MAX: u16 = 10_000;

/// The longest wait for deliveries to the channels of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatherRule {
    /// The rule as it was written.
    text: String,
    pattern: Pattern,
    delay_ms: u16,
}

impl GatherRule {
    /// The pattern of the channels' names, and the delay in milliseconds.
    pub fn gather(&self) -> (Pattern, u16) {
        (self.pattern.clone(), self.delay_ms)
    }
}

impl SettingText for GatherRule {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        let (pattern, [delay_ms]) = channel_rule(text, [("delay", TIMES)])?;
        let delay_ms = u16::try_from(delay_ms?).ok()?;
        (delay_ms <= DELAY_MS_MAX).then(|| Self {
            text: text.to_owned(),
            pattern,
            delay_ms,
        })
    }

    fn show(&self) -> String {
        self.text.clone()
    }

    fn allowed((): &()) -> String {
        "a pattern and a delay of 1 to 10000 ms, such as \"live-* delay=20ms\"".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_pattern_and_a_delay() {
        for (text, name, delay_ms) in [
            ("live-* delay=20ms", "live-1", 20),
            ("a room=1 delay=1ms", "a room=1", 1),
            ("* delay=10s", "@ann", 10_000),
        ] {
            let rule = GatherRule::parse(text, &()).unwrap();
            let (pattern, delay) = rule.gather();
            assert!(pattern.matches(name), "{text}");
            assert_eq!((delay, &*rule.show()), (delay_ms, text));
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "live-*",
            "delay=20ms",
            "live-* delay=20",
            "live-* delay=0ms",
            "live-* delay=10001ms",
            "live-* delay=1m",
            "live-* delay=-1ms",
            "live-* delay=1.5ms",
            "live-* delay=20ms delay=20ms",
            "live-* messages=10",
        ] {
            assert!(GatherRule::parse(bad, &()).is_none(), "{bad:?}");
        }
    }
}
