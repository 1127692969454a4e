//! The nodes of a cluster by HTTP.

use super::HttpApi;
use super::body;
use super::call::ApiCall;
use super::reply::ApiReply;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{NodeRequest, NodeView};
use crate::endpoint::services::Services;

impl HttpApi {
    /// `GET /v1/nodes`: none where the server is by itself.
    pub(super) fn nodes(&self, _: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.ask(|services| {
            let nodes = match services.nodes() {
                Some(nodes) => nodes.nodes()?,
                None => Vec::new(),
            };
            let nodes = nodes.iter().map(|node| view(node).end());
            Ok(Json::object().array("nodes", nodes))
        })
    }

    /// `POST /v1/nodes/{node}/drain`
    pub(super) fn drain_node(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let within_ms = body::within_ms(call.body_or_none()?)?;
        let name = call.names.node.clone().into_owned();
        self.ask(move |services: &std::sync::Arc<Services>| {
            let node = services.node_named(&name)?;
            if node.is_own {
                services.drain(within_ms)?;
            } else {
                let order = NodeRequest::Drain { within_ms };
                services.ask_node(node.generation, &order)?;
            }
            Ok(Json::object().string("node", &name).flag("draining", true))
        })
    }
}

fn view(node: &NodeView) -> Json {
    let figures = &node.figures;
    Json::object()
        .string("node", &node.name)
        .number("generation", node.generation)
        .string("version", &node.version)
        .string("address", &node.address)
        .string("state", node.state.word())
        .flag("own", node.is_own)
        .number("started_ms", node.started_unix_ms)
        .number("connections", figures.connections)
        .number("users", figures.logged_in)
        .number("rooms", figures.rooms)
        .number("messages_per_s", node.messages_per_s)
        .number("memory_bytes", figures.memory_bytes)
        .raw("clock_skew_ms", &node.clock_skew_ms.to_string())
        .string("promise", &node.promise)
        .flag("settings_agree", node.settings_agree)
}
