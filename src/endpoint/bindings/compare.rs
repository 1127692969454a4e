//! The difference between what stands in the store and what is so.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

use crate::chat::{
    BindingChange, BindingError, BindingKey, BindingNode, BindingScope, Bindings, Chat,
};

/// Lists the rows that stand in the store otherwise than they should, or that are missing there.
pub(super) fn differing(
    chat: &Chat,
    scope: BindingScope,
    store: &mut dyn Bindings,
    node: &BindingNode,
) -> Result<Vec<BindingKey>, BindingError> {
    let hash = RandomState::default();
    // A row's digest for its values: the table is in memory twice only by its names.
    let mut standing: HashMap<BindingKey, u64, RandomState> = HashMap::default();
    store.rows(node, &mut |row: BindingChange| {
        standing.insert(row.key(), hash.hash_one(&row));
    })?;
    let mut differing = Vec::new();
    chat.each_binding(scope, &mut |row| {
        let key = row.key();
        if standing.remove(&key) != Some(hash.hash_one(&row)) {
            differing.push(key);
        }
    });
    differing.extend(standing.into_keys());
    Ok(differing)
}
