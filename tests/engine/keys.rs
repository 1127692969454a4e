//! What stands in a Redis, in the form in which the model tells it.

use std::collections::BTreeMap;

use redis::Connection;
use tidings::cluster::model::ModelValue;

use super::world::PREFIX;

/// Returns name, type and content of each key.
const DUMP: &str = "
local all = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', name).ok
  local read = ({ string = { 'GET' }, hash = { 'HGETALL' }, list = { 'LRANGE', 0, -1 },
    set = { 'SMEMBERS' }, zset = { 'ZRANGE', 0, -1, 'WITHSCORES' } })[kind]
  local content = redis.call(read[1], name, unpack(read, 2))
  if kind == 'string' then
    content = { content }
  end
  all[#all + 1] = { name, kind, content }
end
return all";

/// Reads all keys, but who does the upkeep, and of a kept answer whether it is there.
pub fn keys(redis: &mut Connection) -> BTreeMap<String, ModelValue> {
    let mut dump = redis::cmd("EVAL");
    dump.arg(DUMP).arg(0).arg(format!("{PREFIX}:*"));
    let dump: Vec<(String, String, Vec<Vec<u8>>)> = dump.query(redis).unwrap();
    let mut all = BTreeMap::new();
    for (name, kind, content) in dump {
        let key = name[PREFIX.len() + 1..].to_owned();
        if key == "upkeep" {
            continue;
        }
        let mut value = value_of(&kind, content);
        if let ModelValue::Hash(fields) = &mut value
            && key.starts_with("call:")
            && let Some(answer) = fields.get_mut(&b"answer"[..])
        {
            *answer = vec![if answer.is_empty() { b'0' } else { b'1' }];
        }
        all.insert(key, value);
    }
    all
}

fn value_of(kind: &str, mut content: Vec<Vec<u8>>) -> ModelValue {
    let pairs = |content: Vec<Vec<u8>>| {
        let pairs = content.chunks_exact(2);
        let pairs = pairs.map(|pair| (pair[0].clone(), pair[1].clone()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    match kind {
        "string" => ModelValue::Text(content.remove(0)),
        "hash" => ModelValue::Hash(pairs(content)),
        "list" => ModelValue::List(content),
        "set" => ModelValue::Set(content.into_iter().collect()),
        "zset" => {
            let scored = pairs(content);
            assert!(scored.values().all(|score| score == b"0"), "{scored:?}");
            ModelValue::Set(scored.into_keys().collect())
        }
        other => panic!("a key of type {other}"),
    }
}
