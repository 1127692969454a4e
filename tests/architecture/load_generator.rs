//! The load generator uses nothing of ours, so that no change of the product changes the yardstick.

use std::fs;
use std::path::Path;

use super::source::{LOAD_GENERATOR, load_generator};

#[test]
fn the_load_generator_uses_nothing_of_ours() {
    for source in load_generator() {
        let place = source.path.display();
        assert!(!source.code().contains("tidings::"), "{place} uses us");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(LOAD_GENERATOR);
    let manifest = fs::read_to_string(manifest.join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let is_ours = dependencies.contains("tidings") || dependencies.contains("path =");
    assert!(!is_ours, "{dependencies}");
}
