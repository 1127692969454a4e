//! What a node has to be allowed in Redis.

/// The rights of a node's user, as `ACL SETUSER` takes them, with `PREFIX` for the prefix of its keys. The
/// commands inside of scripts are among them: without one of these a script ends in its middle.
pub const REDIS_RIGHTS: &str = "~PREFIX:* &PREFIX:* +evalsha +script|load +info +time +config|get +wait \
+publish +subscribe +select +get +set +unlink +exists +expire +hget +hset +hsetnx +hdel +hmget +hgetall \
+hexists +hincrby +hkeys +hlen +hrandfield +hscan +hvals +rpush +lpop +llen +lindex +lrange +sadd +srem \
+sismember +smembers +spop +sscan +zadd +zrem +zrange +scan";
