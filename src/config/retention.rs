//! Types of setting for the store: when a message counts as stored, and how long it is kept.

use super::channel_rule::{NUMBERS, SIZES, TIMES, channel_rule};
use super::types::SettingText;
use tidings::chat::Pattern;
use tidings::store::{Retention, SyncPolicy};

/// The moment from which a message counts as stored: `always`, `os`, `interval 100ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncSetting(pub SyncPolicy);

impl SettingText for SyncSetting {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        Some(Self(match text {
            "always" => SyncPolicy::Always,
            "os" => SyncPolicy::Os,
            _ => {
                let every = text.strip_prefix("interval ")?.strip_suffix("ms")?;
                let every_ms = every.parse().ok()?;
                (1..=60_000)
                    .contains(&every_ms)
                    .then_some(SyncPolicy::IntervalMs(every_ms))?
            }
        }))
    }

    fn show(&self) -> String {
        match self.0 {
            SyncPolicy::Always => "always".into(),
            SyncPolicy::Os => "os".into(),
            SyncPolicy::IntervalMs(ms) => format!("interval {ms}ms"),
        }
    }

    fn allowed((): &()) -> String {
        "\"always\", \"os\", or \"interval 100ms\" with 1 to 60000 ms".into()
    }
}

/// Bounds for the channels of one pattern: `team-* messages=1000 age=7d bytes=64MiB`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// The rule as it was written.
    text: String,
    /// The pattern of the channels' names.
    pub pattern: Pattern,
    messages_max: Option<u64>,
    age_ms_max: Option<u64>,
    bytes_max: Option<u64>,
}

impl RetentionRule {
    /// The bounds of this rule; `otherwise` gives those that the rule leaves out.
    pub fn retention(&self, otherwise: Retention) -> Retention {
        Retention {
            messages_max: self.messages_max.unwrap_or(otherwise.messages_max),
            age_ms_max: self.age_ms_max.unwrap_or(otherwise.age_ms_max),
            bytes_max: self.bytes_max.unwrap_or(otherwise.bytes_max),
        }
    }
}

impl SettingText for RetentionRule {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        let names = [("messages", NUMBERS), ("age", TIMES), ("bytes", SIZES)];
        let (pattern, [messages_max, age_ms_max, bytes_max]) = channel_rule(text, names)?;
        Some(Self {
            text: text.to_owned(),
            pattern,
            messages_max,
            age_ms_max,
            bytes_max,
        })
    }

    fn show(&self) -> String {
        self.text.clone()
    }

    fn allowed((): &()) -> String {
        "a pattern and bounds, such as \"team-* messages=1000 age=7d bytes=64MiB\"".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_pattern_and_bounds() {
        let rule = RetentionRule::parse("team 7=* messages=10 age=7d bytes=64MiB", &()).unwrap();
        assert!(rule.pattern.matches("team 7=x") && !rule.pattern.matches("team 8"));
        let kept = rule.retention(Retention::UNBOUNDED);
        let (messages_max, age_ms_max, bytes_max) = (10, 7 * 86_400_000, 64 << 20);
        assert_eq!(
            kept,
            Retention {
                messages_max,
                age_ms_max,
                bytes_max
            }
        );
        let age = RetentionRule::parse("* age=30s", &()).unwrap();
        let kept = age.retention(Retention::UNBOUNDED);
        assert_eq!((kept.age_ms_max, kept.messages_max), (30_000, u64::MAX));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in [
            "",
            "*",
            "age=7d",
            "* age=7",
            "* age=7w",
            "* messages=0",
            "* messages=-1",
            "* age=1d age=2d",
            "* bytes=99999999999999999999",
        ] {
            assert!(RetentionRule::parse(bad, &()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_policy_is_read_as_it_is_shown() {
        for good in ["always", "os", "interval 1ms", "interval 60000ms"] {
            assert_eq!(SyncSetting::parse(good, &()).unwrap().show(), good);
        }
        for bad in ["", "never", "interval", "interval 0ms", "interval 5s"] {
            assert!(SyncSetting::parse(bad, &()).is_none(), "{bad:?}");
        }
    }
}
