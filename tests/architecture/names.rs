//! One word, one thing: no two types of a layer share a name.

use std::collections::BTreeMap;

use super::source::{Source, load_generator, sources};

/// The names that still stand twice or more in a layer; the list may only shrink.
const NAMESAKES: &[(&str, &str)] = &[];

/// The types that `code` defines at any depth; associated types are none.
fn types(code: &str) -> Vec<&str> {
    let mut types = Vec::new();
    for line in code.lines() {
        let is_inner = line.starts_with(' ');
        let line = line.trim_start();
        let line = match line.strip_prefix("pub") {
            Some(rest) => rest.trim_start_matches(|c| c != ' ').trim_start(),
            None => line,
        };
        let Some((keyword, rest)) = line.split_once(' ') else {
            continue;
        };
        let is_type = matches!(keyword, "struct" | "enum" | "trait" | "union");
        if is_type || (keyword == "type" && !is_inner) {
            let end = rest.find(|c: char| !c.is_alphanumeric());
            types.push(&rest[..end.unwrap_or(rest.len())]);
        }
    }
    types
}

/// The types that stand twice in one room, as `room_of` tells rooms apart, and their files.
fn twice(
    sources: Vec<Source>,
    room_of: impl Fn(&Source) -> String,
) -> Vec<((String, String), Vec<String>)> {
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for name in types(&code) {
            let place = source.path.display().to_string();
            let key = (room_of(source), name.into());
            places.entry(key).or_default().push(place);
        }
    }
    places.into_iter().filter(|(_, at)| at.len() > 1).collect()
}

#[test]
fn no_two_types_of_the_load_generator_share_a_name() {
    let twice = twice(load_generator(), |_| "bench".into());
    assert!(
        twice.is_empty(),
        "these need names of their own: {twice:#?}"
    );
}

#[test]
fn no_two_types_of_a_layer_share_a_name() {
    let twice = twice(sources(), |source| source.module()[0].clone());
    let is_listed = |layer: &str, name: &str| NAMESAKES.contains(&(layer, name));
    let new: Vec<_> = twice
        .iter()
        .filter(|((layer, name), _)| !is_listed(layer, name))
        .collect();
    assert!(new.is_empty(), "these need names of their own: {new:#?}");
    let still = |layer: &str, name: &str| twice.iter().any(|((l, n), _)| l == layer && n == name);
    let gone: Vec<_> = (NAMESAKES.iter().filter(|(layer, name)| !still(layer, name))).collect();
    assert!(gone.is_empty(), "take these off the list: {gone:?}");
}

#[test]
fn the_rule_sees_every_kind_of_type() {
    let code = "pub(super) struct A<T>(T);\nenum B {\n}\n    pub trait C: Send {\n        type Out;\n    }\ntype D = u8;\npub struct E;";
    assert_eq!(types(code), ["A", "B", "C", "D", "E"]);
}
