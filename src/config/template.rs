//! The file that `tidings init` writes: every setting with its documentation and its default.

use std::fmt::Write as _;

use super::section::{InForceBy, Section};
use super::{
    API_KEYS, ApiKeySection, GeneralSection, PageMode, Settings, TOKEN_KEYS, TokenKeySection, join,
};
use crate::auth::Secret;

const HEAD: &str = "\
# Settings of tidings, written by `tidings init`.
#
# `#key = value` shows a default; take the # away to change it. `tidings check FILE` checks a file.
# The environment wins over this file, and flags win over both: ping_ms in [websocket] is
# TIDINGS_WEBSOCKET_PING_MS there, and --set websocket.ping_ms=5000 on the command line.
# Units stand at the end of the names: _ms and _s are times; a _size is in bytes.
";

/// Writes a file with all settings as comments, and these keys.
#[must_use]
pub fn template(token_key: (&str, Secret), api_key: (&str, Secret)) -> String {
    let token_settings = TokenKeySection {
        secret: token_key.1,
        ..TokenKeySection::default()
    };
    let mut settings = Settings {
        general: GeneralSection {
            page: PageMode::On,
            ..GeneralSection::default()
        },
        token_keys: vec![(token_key.0.into(), token_settings)],
        api_keys: vec![(api_key.0.into(), ApiKeySection::from_key(api_key.1))],
        ..Settings::default()
    };
    let mut text = String::from(HEAD);
    for (name, section) in settings.sections() {
        write_section(&mut text, &name, section);
    }
    text
}

impl ApiKeySection {
    fn from_key(key: Secret) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }
}

fn write_section(text: &mut String, name: &str, section: &mut dyn Section) {
    text.push('\n');
    for line in section.about() {
        comment(text, line);
    }
    if !name.is_empty() {
        line(text, format_args!("[{name}]"));
    }
    let given = given(name);
    section.each(&mut |field| {
        text.push('\n');
        for line in field.docs {
            comment(text, line);
        }
        if let Some(range) = field.slot.range() {
            comment(text, &format!(" Allowed: {range}."));
        }
        comment(text, in_force(field.by));
        let mark = if given.contains(&field.key) { "" } else { "#" };
        let value = field.slot.to_toml();
        line(text, format_args!("{mark}{} = {value}", field.key));
    });
}

/// The line that says what puts a setting into force.
fn in_force(by: InForceBy) -> &'static str {
    match by {
        InForceBy::Reload => " A change is in force after `tidings reload`.",
        InForceBy::Upgrade => " A change is in force after `tidings upgrade`, or a restart.",
        InForceBy::Restart => " A change is in force after a restart.",
    }
}

/// The settings of a section that are no comments: those that hold a fresh key, and the page, which
/// lets nobody in without one.
fn given(section: &str) -> &'static [&'static str] {
    if section.is_empty() {
        &["page"]
    } else if section.starts_with(&join(TOKEN_KEYS, "")) {
        &["algorithm", "secret"]
    } else if section.starts_with(&join(API_KEYS, "")) {
        &["key"]
    } else {
        &[]
    }
}

fn comment(text: &mut String, doc: &str) {
    line(text, format_args!("#{doc}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes every character");
}
