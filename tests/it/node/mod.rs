//! A node of a cluster in the test's own process, on the model of the engine.

mod held;
mod links;

use std::sync::Arc;

use serde_json::Value;
use tidings::api::LimitSettings;
use tidings::api::OpenAccess;
use tidings::base::clock::random;
use tidings::chat::{ChannelKind, ChatSettings};
use tidings::cluster::bus::BusThreads;
use tidings::cluster::clock::SystemClock;
use tidings::cluster::model::Model;
use tidings::cluster::shared::NodePart;
use tidings::cluster::{ClusterNode, ClusterSettings};
use tidings::endpoint::{Endpoint, EndpointHost, EndpointSettings, ReplaySettings};
use tidings::server::{Builder, Request, Responder, Response};
use tidings::store::{DiskSettings, StoreSettings};

use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, Mode};
use crate::support::wait::until_none;
use crate::support::websocket::WebSocketClient;

/// A node with its engine.
struct ModelNode {
    model: Model,
    /// Its number, as the model knows it.
    owner: u64,
    node: ClusterNode,
    server: Option<LocalServer>,
    endpoint: Arc<Endpoint>,
    bus: Option<BusThreads>,
}

/// Bounds that a test changes.
struct Bounds {
    held_logins_max: usize,
    connections_per_user_max: usize,
    answer_ms_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            held_logins_max: 10_000,
            connections_per_user_max: 20,
            answer_ms_max: 20_000,
        }
    }
}

struct Host;

impl EndpointHost for Host {
    fn answer(&self, _: Request, responder: Responder) {
        responder.end(Response::new(404));
    }
}

impl ModelNode {
    fn start(mode: Mode, bounds: &Bounds) -> Self {
        let model = Model::new(Arc::new(SystemClock));
        Self::on(model, 1, mode.builder(), bounds)
    }

    /// Another node on the same engine.
    fn beside(&self, mode: Mode) -> Self {
        let model = self.model.clone();
        Self::on(model, self.owner + 1, mode.builder(), &Bounds::default())
    }

    fn on(model: Model, owner: u64, builder: Builder, bounds: &Bounds) -> Self {
        let registered = model.clone();
        let node = ClusterNode::join(
            cluster_settings(owner, bounds),
            model.source(owner),
            (Arc::new(SystemClock), Arc::new(random)),
            ChannelKind::Stored,
            &move |shared| {
                registered.register(&shared.settings.node, shared.generation());
                shared.set_generation(shared.generation());
                shared.set_ready(NodePart::Generation, true);
                Ok(())
            },
        )
        .unwrap();
        let store = node.store(StoreSettings::new("unused"));
        let chat = ChatSettings {
            kind: ChannelKind::Stored,
            connections_per_user_max: bounds.connections_per_user_max,
            cluster_linger_ms: Some(10_000),
            ..ChatSettings::default()
        };
        let endpoint = Endpoint::new(endpoint_settings(bounds), chat, Box::new(OpenAccess), store);
        let endpoint = Arc::new(endpoint.unwrap());
        let builder = endpoint.attach(builder, Arc::new(Host));
        let server = LocalServer::start(builder);
        let shared = Arc::clone(node.shared());
        let died = |what| panic!("{what}");
        let bus = BusThreads::start(shared, node.source(), &endpoint.hearing(), died).unwrap();
        endpoint.set_catch_up(Arc::clone(&bus.state) as _);
        Self {
            model,
            owner,
            node,
            server: Some(server),
            endpoint,
            bus: Some(bus),
        }
    }

    fn server(&self) -> &LocalServer {
        self.server.as_ref().expect("it runs")
    }

    /// Cuts the node off from its engine, or lets it come back.
    fn set_away(&self, is_away: bool) {
        self.model.set_away(self.owner, is_away);
    }

    fn socket(&self, path: &str) -> WebSocketClient {
        WebSocketClient::connect(self.server().handle.addresses()[0], path)
    }

    fn client(&self) -> ChatClient {
        ChatClient::on(self.socket("/ws"))
    }

    fn http(&self) -> HttpClient {
        HttpClient::connect(self.server().handle.addresses()[0])
    }

    fn stats(&self) -> Value {
        self.http().json("GET", "/v1/stats", &Value::Null).1
    }

    #[track_caller]
    fn until_held(&self, count: u64) {
        let mut held = Value::Null;
        until_none(&format!("{count} are held"), || {
            held = self.stats()["holds"]["waiting"].clone();
            (held != count).then(|| held.clone()).into_iter().collect()
        });
    }
}

impl Drop for ModelNode {
    fn drop(&mut self) {
        // A test that fails may have cut it off.
        self.set_away(false);
        drop(self.server.take());
        self.endpoint.finish();
        if let Some(bus) = self.bus.take() {
            bus.end();
        }
    }
}

fn cluster_settings(owner: u64, bounds: &Bounds) -> ClusterSettings {
    ClusterSettings {
        checks: false,
        answer_ms_max: bounds.answer_ms_max,
        behind_bytes_max: 1 << 20,
        held_bytes_max: 1 << 20,
        held_logins_max: bounds.held_logins_max,
        lookups_max: 100,
        ..ClusterSettings::new(Model::engine_settings(), &format!("node-{owner}"))
    }
}

fn endpoint_settings(bounds: &Bounds) -> EndpointSettings {
    EndpointSettings {
        node: "one".into(),
        message_size_max: 64 * 1024,
        ping_s: 25,
        login_ms_max: 10_000,
        limits: LimitSettings::default(),
        sync: "model".into(),
        host_metrics: Vec::new,
        disk: DiskSettings::default(),
        replays: ReplaySettings::default(),
        lookups_max: 100,
        held_logins_max: bounds.held_logins_max,
        bindings: None,
        tables: None,
    }
}
