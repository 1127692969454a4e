//! The settings of a node of a cluster, and the library's, made from them.

use std::time::Duration;

use super::section::section;
use super::types::BindingPlace;
use super::{Loader, Purpose, Settings};
use tidings::cluster::{ClusterPromise, ClusterSettings, EngineSettings, StoreEngine};
use tidings::store::Retention;

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The most that a size in bytes may be: 1 TiB.
const SIZE_MAX: u64 = 1 << 40;

section! {
    /// Several servers as one, around a Redis: in docs/cluster.md. Each needs a name: `node`. What is
    /// said is stored in that Redis, and nothing in a folder of data.
    ClusterSection {
        /// Redis 7.0 or newer, or Valkey: redis://[USER@]HOST[:PORT][/NUMBER], redis+unix://PATH, or
        /// redis+sentinel://[USER@]HOST[:PORT],HOST,HOST/NAME[/NUMBER]. Empty: this server is alone.
        redis: String = String::new(), within 0..=4_096, by restart;
        /// A file with its password; one line break at its end doesn't count. Empty: no password.
        redis_password_file: String = String::new(), within 0..=4_096, by upgrade;
        /// Moment from which a message counts as stored, and is answered and delivered. "synced": Redis
        /// has written it to its disk. "replicated": its replicas have it, too, so that a failover
        /// loses nothing. "fast": Redis has it in memory; its crash may lose two seconds, and clients
        /// are told. Redis has to be set for it, or the start is refused.
        promise: ClusterPromise = ClusterPromise::Synced, by upgrade;
        /// Replicas that have to have a message, with "replicated": all that can become the primary.
        replicas: usize = 1, within 1..=16, by upgrade;
        /// Whether the settings of Redis are read, at the start and each minute; false where CONFIG is
        /// forbidden. Then nobody but you knows that the promise is kept.
        check: bool = true, by upgrade;
        /// Beginning of the names of all keys: letters, digits and _. All nodes have the same.
        prefix: String = "tidings".into(), within 1..=32, by restart;
        /// Messages that a channel keeps at most, in the memory of Redis; then the oldest go. Channels of
        /// chat.in_memory have the bounds that stand there, and store.keep has others by patterns.
        messages_max: u64 = 1_000, within 1..=u64::MAX >> 1, by reload;
        /// Age up to which a channel keeps its messages, in milliseconds.
        age_ms_max: u64 = 7 * DAY_MS, within 1_000..=36_500 * DAY_MS, by reload;
        /// Bytes that a channel keeps at most; then the oldest messages go.
        channel_size_max: u64 = 4 << 20, within 1_024..=SIZE_MAX, by reload;
        /// Ids that are remembered in the cluster for chat.repeat_ms; with one more, messages with an id
        /// are refused with 503 until some are forgotten.
        ids_max: usize = 1_000_000, within 1..=100_000_000, by reload;
        /// Ids of one sender, a user or an API key, among the last quarter of ids_max; with one more, the
        /// sender's messages with an id are refused with 429, and nobody else's.
        ids_per_sender_max: usize = 10_000, within 1..=100_000_000, by reload;
        /// Time after which a node is taken for dead whose beat stands still, in milliseconds.
        lease_ms: u64 = 5_000, within 2_000..=DAY_MS, by upgrade;
        /// Longest wait of a sender for an outcome that isn't known, in milliseconds; then `unsettled`
        /// (504). A call is repeated until its outcome is known.
        answer_ms_max: u64 = 10_000, within 100..=DAY_MS, by upgrade;
        /// Longest wait for an answer of Redis, in milliseconds; then it is connected to anew.
        call_ms_max: u64 = 5_000, within 100..=60_000, by upgrade;
        /// Time without hearing the other nodes after which this one sends its clients away, in
        /// milliseconds; 0 never does: when Redis is away for all, that helps nobody.
        deaf_ms_max: u64 = 0, within 0..=DAY_MS, by upgrade;
        /// Time for which a node hears a channel after its last listener went, in milliseconds.
        linger_ms: u64 = 10_000, within 0..=DAY_MS, by upgrade;
        /// Time between two comparisons of each channel that is heard with the log, in milliseconds.
        look_ms: u64 = 30_000, within 100..=DAY_MS, by upgrade;
        /// Bytes of messages that wait until they are known to be stored at most; over it they are
        /// dropped, and read from the log.
        held_size_max: usize = 16_777_216, within 1_024..=SIZE_MAX, by upgrade;
        /// Bytes that wait for one channel to catch up with the log at most; over it as above.
        behind_channel_size_max: usize = 1_048_576, within 1_024..=SIZE_MAX, by upgrade;
        /// The same for all channels.
        behind_size_max: usize = 67_108_864, within 1_024..=SIZE_MAX, by upgrade;
        /// Logins and joins that wait for Redis at a time at most; one more closes its connection with
        /// 1013.
        held_logins_max: usize = 10_000, within 1..=1_000_000, by upgrade;
        /// Questions that wait for Redis or for other nodes at a time at most; one more is refused with
        /// 503.
        lookups_max: usize = 1_000, within 1..=1_000_000, by upgrade;
        /// Time that another node has to answer a question, in milliseconds; then 503.
        request_ms_max: u64 = 1_000, within 10..=60_000, by upgrade;
    }
}

impl Settings {
    /// Whether the server is a node of a cluster.
    #[must_use]
    pub fn is_node(&self) -> bool {
        !self.cluster.redis.is_empty()
    }

    /// The bounds of a channel in the cluster's log.
    pub(super) fn retention_in_cluster(&self) -> impl Fn(&str) -> Retention + use<> {
        let (cluster, chat) = (&self.cluster, self.chat());
        let stored = Retention {
            messages_max: cluster.messages_max,
            age_ms_max: cluster.age_ms_max,
            bytes_max: cluster.channel_size_max,
        };
        let in_memory = Retention {
            messages_max: chat.kept_messages_max as u64,
            age_ms_max: chat.kept_ms_max,
            bytes_max: chat.kept_channel_bytes_max as u64,
        };
        move |channel| match chat.kind_of(channel) {
            tidings::chat::ChannelKind::Memory => in_memory,
            _ => stored,
        }
    }

    /// A digest of the settings that have to agree on all nodes of a cluster: kinds and bounds of channels,
    /// `repeat_ms`, limits a user, presence, the names of API keys.
    pub(super) fn agreed_in_cluster(&self) -> u64 {
        let (cluster, chat) = (&self.cluster, self.chat());
        let mut names: Vec<&str> = self.api_keys.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let text = format!(
            "{:?}",
            (
                (
                    &chat.kinds,
                    chat.kind,
                    chat.kept_messages_max,
                    chat.kept_ms_max,
                    chat.dedup_ms
                ),
                (
                    cluster.messages_max,
                    cluster.age_ms_max,
                    cluster.channel_size_max,
                    cluster.ids_max,
                    cluster.ids_per_sender_max
                ),
                (chat.connections_per_user_max, chat.rooms_per_connection_max),
                (chat.presence_users_max, chat.left_ms, names),
            )
        );
        // FNV-1a: the same for all builds of the program.
        text.bytes().fold(0xCBF2_9CE4_8422_2325, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
    }

    /// The promise of the cluster, in words.
    pub(super) fn promise_in_cluster(&self) -> &'static str {
        match self.cluster.promise {
            ClusterPromise::Synced => {
                "synced: what was answered survives a crash of any node, of Redis, the system, the power; \
                 a failover may take what came last, and clients are told"
            }
            ClusterPromise::Replicated => {
                "replicated: what was answered survives a crash of any node, of Redis, the system, the \
                 power, and a failover"
            }
            ClusterPromise::Fast => {
                "fast: what was answered survives a crash of any node; one of Redis may take what came \
                 in the last seconds, and clients are told"
            }
        }
    }
}

impl Loader {
    /// Prepares what makes the server a node, if it is to be one.
    pub(super) fn cluster(&mut self, purpose: Purpose) -> Option<ClusterSettings> {
        if !self.settings.is_node() {
            return None;
        }
        let node = self.settings.general.node.clone();
        if node.is_empty() && purpose != Purpose::Cluster {
            let what = "node has to be named in a cluster, each server by another name and the same after \
                        each start: --node eu-1";
            self.problem("cluster.redis", what);
        }
        self.bindings_in_cluster();
        let engine = self.cluster_engine()?;
        let (cluster, general) = (&self.settings.cluster, &self.settings.general);
        Some(ClusterSettings {
            engine,
            node,
            address: (general.listen.0.first()).map_or_else(String::new, ToString::to_string),
            agreed: self.settings.agreed_in_cluster(),
            promise: cluster.promise,
            replicas: match cluster.promise {
                ClusterPromise::Replicated => cluster.replicas,
                ClusterPromise::Synced | ClusterPromise::Fast => 0,
            },
            checks: cluster.check,
            lease_ms: cluster.lease_ms,
            answer_ms_max: cluster.answer_ms_max,
            deaf_ms_max: cluster.deaf_ms_max,
            linger_ms: cluster.linger_ms,
            look_ms: cluster.look_ms,
            left_ms: self.settings.chat.left_ms,
            held_bytes_max: cluster.held_size_max,
            behind_channel_bytes_max: cluster.behind_channel_size_max,
            behind_bytes_max: cluster.behind_size_max,
            held_logins_max: cluster.held_logins_max,
            lookups_max: cluster.lookups_max,
            request_ms_max: cluster.request_ms_max,
        })
    }

    fn cluster_engine(&mut self) -> Option<EngineSettings> {
        let cluster = self.settings.cluster.clone();
        self.check_prefix("cluster.prefix", &cluster.prefix);
        let address = self.engine_address("cluster.redis", StoreEngine::Redis, &cluster.redis)?;
        let file = &cluster.redis_password_file;
        let password = self.engine_password("cluster", "redis_password", file)?;
        Some(EngineSettings {
            engine: StoreEngine::Redis,
            address,
            password,
            prefix: cluster.prefix,
            answer_max: Duration::from_millis(cluster.call_ms_max),
        })
    }

    /// Puts the bindings of a node into the cluster's Redis, where they are how nodes know who is where;
    /// tables in MySQL are written besides.
    fn bindings_in_cluster(&mut self) {
        let place = self.settings.bindings.store;
        if place == BindingPlace::Memory && self.places.contains_key("bindings.store") {
            let what = "bindings.store can't be \"memory\" in a cluster: by what stands in its Redis the nodes \
                        know who is where; leave it out, or say \"mysql\" for tables there besides";
            self.problem("bindings.store", what);
        }
        let prefix = (place != BindingPlace::MySql).then_some("prefix");
        for key in ["redis", "redis_password_file"].into_iter().chain(prefix) {
            let name = format!("bindings.{key}");
            if self.places.contains_key(&name) {
                let what = format!("{name} changes nothing in a cluster: cluster.{key} says it");
                self.problem(&name, what);
            }
        }
        if place == BindingPlace::MySql {
            return;
        }
        let (cluster, bindings) = (&self.settings.cluster, &mut self.settings.bindings);
        bindings.store = BindingPlace::Redis;
        bindings.redis.clone_from(&cluster.redis);
        bindings
            .redis_password_file
            .clone_from(&cluster.redis_password_file);
        bindings.prefix.clone_from(&cluster.prefix);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{InForceBy, Loaded, SettingFiles, Sources};
    use tidings::chat::ChannelKind;
    use tidings::cluster::EnginePlace;

    fn load(text: &str) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        fs::write(&file, text).unwrap();
        fs::write(folder.path().join("password"), "secret\n").unwrap();
        let loaded = Loaded::from(&Sources {
            file: Some(file),
            files: SettingFiles::OnDisk,
            ..Sources::default()
        });
        loaded.map_err(|problems| problems.to_string())
    }

    fn node(more: &str) -> Result<Loaded, String> {
        load(&format!(
            "node = \"a\"\n[cluster]\nredis = \"redis://r\"\n{more}"
        ))
    }

    #[test]
    fn a_server_without_a_cluster_is_alone() {
        let loaded = load("[cluster]\nlease_ms = 9000").unwrap();
        assert!(loaded.cluster.is_none() && loaded.bindings.is_none());
        assert!(loaded.settings.data().is_some());
    }

    #[test]
    fn a_node_keeps_nothing_here_and_all_of_it_in_the_cluster() {
        let more = "prefix = \"chat\"\nredis_password_file = \"password\"\nmessages_max = 7\n\
                    [chat]\nin_memory = [\"live-*\"]\nring_messages_max = 3\n\
                    [store]\nkeep = [\"team-* messages=9\"]";
        let loaded = node(more).unwrap();
        let settings = &loaded.settings;
        assert_eq!(settings.data(), None);
        assert_eq!(settings.chat().kind, ChannelKind::Stored);
        let store = settings.store();
        let kept = |channel: &str| (store.retention)(channel).messages_max;
        assert_eq!((kept("a"), kept("live-1"), kept("team-1")), (7, 3, 9));
        assert_eq!(store.dedup_entries_max, settings.cluster.ids_max);
        let disk = settings.disk();
        assert_eq!(
            (disk.batch_records_max, disk.batch_bytes_max),
            (256, 262_144)
        );
        let (cluster, bindings) = (loaded.cluster.unwrap(), loaded.bindings.unwrap());
        assert_eq!((&*cluster.node, cluster.replicas), ("a", 0));
        let place = EnginePlace::Tcp("r".into(), 6_379);
        for engine in [&cluster.engine, &bindings] {
            assert_eq!(engine.address.place, place);
            assert_eq!((&*engine.password, &*engine.prefix), ("secret", "chat"));
        }
    }

    #[test]
    fn tables_in_mysql_are_written_besides() {
        let more = "prefix = \"chat\"\n[bindings]\nstore = \"mysql\"\n\
                    mysql = \"mysql://u@db/d\"\nprefix = \"shop\"\nmysql_password_file = \"password\"";
        let loaded = node(more).unwrap();
        let (cluster, tables) = (loaded.cluster.unwrap(), loaded.bindings.unwrap());
        assert_eq!(cluster.engine.address.place.to_string(), "r:6379");
        assert_eq!(&*cluster.engine.prefix, "chat");
        let place = EnginePlace::Tcp("db".into(), 3_306);
        assert_eq!(
            (tables.engine, tables.address.place),
            (StoreEngine::MySql, place)
        );
        assert_eq!((&*tables.prefix, &*tables.password), ("shop", "secret"));
    }

    #[test]
    fn replicas_are_waited_for_where_they_are_promised() {
        let loaded = node("promise = \"replicated\"\nreplicas = 2").unwrap();
        let cluster = loaded.cluster.unwrap();
        assert_eq!(
            (cluster.promise, cluster.replicas),
            (ClusterPromise::Replicated, 2)
        );
        let said = node("promise = \"sometimes\"").unwrap_err();
        assert!(
            said.contains("\"synced\", \"replicated\", \"fast\""),
            "{said}"
        );
    }

    #[test]
    fn what_is_read_when_the_bus_opens_is_refused_by_a_reload_which_says_what_it_takes() {
        let running = node("").unwrap().settings;
        for setting in [
            "look_ms = 700",
            "held_size_max = 2000",
            "behind_channel_size_max = 2000",
            "behind_size_max = 2000",
            "request_ms_max = 70",
            "answer_ms_max = 700",
            "linger_ms = 7",
        ] {
            let changes = running.changes_to(&node(setting).unwrap());
            let refusals: Vec<String> = changes.iter().map(|one| one.refusal()).collect();
            let [refusal] = &refusals[..] else {
                panic!("{setting}: {refusals:?}")
            };
            assert_eq!(changes[0].by, InForceBy::Upgrade, "{setting}");
            assert!(
                refusal.ends_with("`tidings upgrade`, or a restart"),
                "{refusal}"
            );
        }
        for setting in ["ids_max = 7", "ids_per_sender_max = 7", "messages_max = 7"] {
            let changes = running.changes_to(&node(setting).unwrap());
            assert_eq!(changes[0].by, InForceBy::Reload, "{setting}");
        }
    }

    #[test]
    fn what_a_node_lacks_or_contradicts_is_named() {
        let said = load("[cluster]\nredis = \"redis://r\"").unwrap_err();
        assert!(said.contains("node has to be named"), "{said}");
        for (more, word) in [
            ("prefix = \"a b\"", "cluster.prefix"),
            (
                "redis_password_file = \"none\"",
                "cluster.redis_password_file",
            ),
            ("[bindings]\nstore = \"memory\"", "bindings.store"),
            (
                "[bindings]\nstore = \"mysql\"\nredis = \"redis://other\"",
                "bindings.redis",
            ),
            (
                "[bindings]\nstore = \"mysql\"\nprefix = \"a b\"",
                "bindings.prefix",
            ),
            ("[bindings]\nredis = \"redis://other\"", "bindings.redis"),
            ("[bindings]\nprefix = \"other\"", "bindings.prefix"),
        ] {
            let said = node(more).unwrap_err();
            assert!(said.contains(word), "{more}: {said}");
        }
        for (address, word) in [
            ("redis+cluster://a,b,c", "Redis Cluster isn't used"),
            ("redis://u:secret@r", "a password stands in a file"),
            ("redis+sentinel://a,b,c", "the name is missing"),
            ("rediss://r", "TLS"),
        ] {
            let said =
                load(&format!("node = \"a\"\n[cluster]\nredis = \"{address}\"")).unwrap_err();
            assert!(
                said.contains("cluster.redis") && said.contains(word),
                "{address}: {said}"
            );
            assert!(!said.contains("u:secret"), "{said}");
        }
    }
}
