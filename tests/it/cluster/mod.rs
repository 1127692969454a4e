//! Several nodes as one server: two endpoints in this process, each with its own server, over the model of
//! the engine that they share.

#[cfg(feature = "deflate")]
mod deflated;
mod lasting;
mod rooms;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};
use tidings::api::OpenAccess;
use tidings::base::ChannelKind;
use tidings::chat::ChatSettings;
use tidings::cluster::bus::BusThreads;
use tidings::cluster::clock::SystemClock;
use tidings::cluster::model::Model;
use tidings::cluster::{ClusterNode, ClusterSettings};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::server::{SerialBlocks, ServerSettings};
use tidings::store::{DiskSettings, StoreSettings};

use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::nothing_else::NothingElse;
use crate::support::server::{LocalServer, Mode};
use crate::support::websocket::WebSocketClient;

/// A node of a cluster.
struct Node {
    served: Option<LocalServer>,
    endpoint: Arc<Endpoint>,
    bus: Option<BusThreads>,
    _node: ClusterNode,
}

/// Nodes of one cluster.
struct Cluster {
    model: Model,
    nodes: Vec<Node>,
}

impl Cluster {
    fn start(nodes: u64) -> Self {
        let model = Model::new(Arc::new(SystemClock));
        let joined: Vec<ClusterNode> = (1..=nodes).map(|number| join(&model, number)).collect();
        let beats: Vec<(u64, u64)> = joined
            .iter()
            .map(|node| (node.shared().generation(), 1))
            .collect();
        for node in &joined {
            node.shared().note_beats(&beats);
        }
        let nodes = joined.into_iter().map(Node::start).collect();
        Self { model, nodes }
    }

    /// A client on this node.
    fn client(&self, node: usize) -> ChatClient {
        let address = self.nodes[node].served().handle.addresses()[0];
        ChatClient::on(WebSocketClient::connect(address, "/ws"))
    }

    /// A user on this node, in these rooms.
    fn user(&self, node: usize, uid: &str, rooms: &[&str]) -> ChatClient {
        let mut client = self.client(node);
        client.ok(json!({"type": "login", "uid": uid, "rooms": rooms}));
        client
    }

    /// A back end that asks this node.
    fn back_end(&self, node: usize) -> HttpClient {
        let address = self.nodes[node].served().handle.addresses()[0];
        HttpClient::on(std::net::TcpStream::connect(address).unwrap())
    }
}

impl Node {
    fn start(node: ClusterNode) -> Self {
        let settings = EndpointSettings {
            node: node.shared().settings.node.clone(),
            message_size_max: 1_000,
            ping_s: 25,
            login_ms_max: 10_000,
            limits: LimitSettings::default(),
            sync: "synced".into(),
            host_metrics: Vec::new,
            disk: DiskSettings::default(),
            lookups_max: 1_000,
            held_logins_max: 1_000,
            bindings: None,
            tables: None,
            replays: ReplaySettings::default(),
        };
        let chat = ChatSettings {
            kind: ChannelKind::Stored,
            cluster_linger_ms: Some(10_000),
            ..ChatSettings::default()
        };
        let store = node.store(StoreSettings::new("cluster"));
        let endpoint = Endpoint::new(settings, chat, Box::new(OpenAccess), store);
        let endpoint = Arc::new(endpoint.unwrap());
        let mode = Mode {
            workers: 2,
            reactors: 1,
        };
        let block = node.serial_block(0).unwrap();
        let bounds = ServerSettings::default();
        // Only those who offer it see anything of that.
        #[cfg(feature = "deflate")]
        let bounds = deflated::deflating(bounds);
        let builder = endpoint
            .attach(mode.builder().settings(bounds), Arc::new(NothingElse))
            .serial_blocks(Arc::new(SerialBlocks::new(vec![block], || {})));
        let served = LocalServer::start(builder);
        let handle = served.handle.clone();
        let died = move |what| handle.fail(what);
        let bus = BusThreads::start(
            Arc::clone(node.shared()),
            node.source(),
            &endpoint.hearing(),
            died,
        );
        let bus = bus.unwrap();
        endpoint.set_catch_up(Arc::clone(&bus.state) as _);
        Self {
            served: Some(served),
            endpoint,
            bus: Some(bus),
            _node: node,
        }
    }

    fn served(&self) -> &LocalServer {
        self.served.as_ref().expect("it runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.served.take());
        if let Some(bus) = self.bus.take() {
            bus.end();
        }
        self.endpoint.finish();
    }
}

fn join(model: &Model, number: u64) -> ClusterNode {
    let dice = AtomicU64::new(number << 40);
    let random = Arc::new(move || dice.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed));
    let settings = ClusterSettings {
        checks: false,
        lease_ms: 3_600_000,
        behind_bytes_max: 1 << 20,
        held_bytes_max: 1 << 20,
        held_logins_max: 1_000,
        ..ClusterSettings::new(Model::engine_settings(), &format!("node-{number}"))
    };
    let theirs = model.clone();
    let node = ClusterNode::join(
        settings,
        model.source(number),
        (Arc::new(SystemClock), random),
        ChannelKind::Stored,
        &move |shared| {
            theirs.register(&shared.settings.node, shared.generation());
            Ok(())
        },
    );
    node.unwrap()
}

/// Says something in a room, and gives the position of it.
fn say(client: &mut ChatClient, to: Value, data: Value) -> Value {
    client.ok_keeping(json!({"type": "say", "to": to, "data": data}))
}

/// The next message that a client hears.
#[track_caller]
fn message(client: &mut ChatClient) -> Value {
    let frame = client.hear();
    assert_eq!(frame["type"], "msg", "{frame}");
    frame
}
