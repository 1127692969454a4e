//! What is left in Redis of generations that are dead.

use std::collections::HashSet;
use std::time::Duration;

use redis::Commands as _;

use super::support::wait::until_none;
use super::world::World;

impl World {
    /// Keys of generations that stand under no name; the answer to their last call may stay.
    pub fn keys_of_the_dead(&self) -> Vec<String> {
        let Some(mut redis) = self.connection() else {
            return Vec::new();
        };
        let nodes: Vec<(String, String)> = redis.hgetall("tidings:nodes").unwrap();
        let alive: HashSet<String> = nodes
            .into_iter()
            .map(|(_, generation)| generation)
            .collect();
        let is_dead = |generation: &str| !alive.contains(generation);
        let mut left = Vec::new();
        for kind in ["n", "c", "x", "w", "j"] {
            let keys: Vec<String> = redis.keys(format!("tidings:{kind}:*")).unwrap();
            let of_dead = |key: &String| key.rsplit(':').next().is_some_and(is_dead);
            left.extend(keys.into_iter().filter(of_dead));
        }
        let routes: Vec<String> = redis.keys("tidings:r:*").unwrap();
        for key in routes {
            let fields: Vec<String> = redis.hkeys(&key).unwrap();
            let of_dead = fields.into_iter().filter(|field| is_dead(field));
            left.extend(of_dead.map(|generation| format!("{key} {generation}")));
        }
        let users: Vec<String> = redis.keys("tidings:u:*").unwrap();
        for key in users {
            let values: Vec<String> = redis.hvals(&key).unwrap();
            let of_dead = |value: &String| value.split(':').next().is_some_and(is_dead);
            left.extend(
                values
                    .into_iter()
                    .filter(of_dead)
                    .map(|value| format!("{key} {value}")),
            );
        }
        left
    }

    /// Nothing of them is left in time.
    #[track_caller]
    pub fn until_no_key_of_the_dead(&self, time: Duration) {
        let began = std::time::Instant::now();
        until_none("keys of dead generations are left", || {
            let left = self.keys_of_the_dead();
            assert!(
                left.is_empty() || began.elapsed() < time,
                "after {time:?}: {left:#?}"
            );
            left
        });
    }
}
