//! A gateway and its upstream freeze and thaw again and again, and each message that was taken comes
//! once, in order.
//!
//! The gateway starts its program again as the push process, so the test runs in a process whose
//! arguments name it alone.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use serde_json::json;
use tempfile::TempDir;
use tidings::api::OpenAccess;
use tidings::chat::{ChannelKind, ChatSettings};
use tidings::endpoint::{Endpoint, EndpointSettings, LimitSettings, ReplaySettings};
use tidings::gateway::{Gateway, GatewaySettings, PUSH_PROCESS, Target, push, store_settings};
use tidings::server::{Server, ServerSettings};
use tidings::store::{DiskSettings, Journal, StoreSettings};
use tidings::tls::TlsTrust;

use super::machine::{LINK_KEY, message};
use crate::support::alone::{part, passes_alone};
use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::nothing_else::NothingElse;
use crate::support::server::{LocalServer, Mode};
use crate::support::tls::everywhere;
use crate::support::websocket::WebSocketClient;

fn patient() -> ServerSettings {
    ServerSettings {
        freeze_ms_max: 20_000,
        ..ServerSettings::default()
    }
}

/// A server that takes links.
fn upstream(listener: TcpListener, folder: &TempDir) -> (LocalServer, Arc<Endpoint>) {
    let settings = EndpointSettings {
        node: "upstream".into(),
        message_size_max: 1_000,
        ping_s: 25,
        login_ms_max: 10_000,
        limits: LimitSettings::default(),
        sync: "always".into(),
        host_metrics: Vec::new,
        disk: DiskSettings::default(),
        lookups_max: 1_000,
        held_logins_max: 10_000,
        bindings: None,
        tables: None,
        replays: ReplaySettings::default(),
    };
    let chat = ChatSettings {
        kind: ChannelKind::Stored,
        ..ChatSettings::default()
    };
    let journal = Journal::open(StoreSettings::new(folder.path())).unwrap();
    let endpoint = Endpoint::new(settings, chat, Box::new(OpenAccess), Box::new(journal));
    let endpoint = Arc::new(endpoint.unwrap());
    let mode = Mode {
        workers: 1,
        reactors: 1,
    };
    let builder = endpoint.attach(mode.builder(), Arc::new(NothingElse));
    let server = LocalServer::start(builder.listener(listener).settings(patient()));
    (server, endpoint)
}

#[test]
fn each_message_that_a_gateway_takes_through_freezes_comes_once_and_in_order() {
    const NAME: &str = "each_message_that_a_gateway_takes_through_freezes_comes_once_and_in_order";
    const FREEZES: usize = 25;
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "gateway");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = Target::new(&everywhere::websocket_url(address, "/link"), LINK_KEY);
    let authorities = everywhere::ca_file().map(|file| std::fs::read_to_string(file).unwrap());
    let trust = TlsTrust::new(authorities.as_deref(), None);
    let target = target.unwrap().trusting(&trust);
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let store = store_settings(StoreSettings::new(folders[0].path()), 1 << 30);
    let store = Journal::open(store).unwrap();
    let settings = GatewaySettings::new("gw-1", vec![target]);
    let gateway = Gateway::new(settings, Box::new(store), Box::new(OpenAccess)).unwrap();
    let gateway = Arc::new(gateway);
    let (start, answer) = (Arc::clone(&gateway), Arc::clone(&gateway));
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .settings(patient())
        .process(PUSH_PROCESS, push)
        .on_start(move |server| start.start(server).unwrap())
        .on_request(move |server, request, responder| {
            assert!(answer.answer(server, request, responder).is_none());
        });
    // The push process comes this far.
    let front = LocalServer::start(gateway.attach(builder));
    let (far, endpoint) = upstream(listener, &folders[1]);
    let client = WebSocketClient::connect(address, "/ws");
    let (mut listener, _) = ChatClient::login_with(client, json!({"uid": "ann", "rooms": ["tea"]}));
    let ends = Arc::new(AtomicBool::new(false));
    let posts_to = front.handle.addresses()[0];
    let poster = {
        let ends = Arc::clone(&ends);
        thread::spawn(move || {
            let mut http = HttpClient::connect(posts_to);
            let mut posted = 0;
            while !ends.load(SeqCst) {
                posted += 1;
                let body = message("bob", posted);
                let answer = http.ask_with_json("POST", "/v1/messages", &body).unwrap();
                assert_eq!(answer.status, 202, "{}", answer.body);
            }
            posted
        })
    };
    for number in 0..FREEZES {
        let frozen = [&front, &far][number % 2];
        frozen.handle.freeze_trial(|_| {}).unwrap();
    }
    ends.store(true, SeqCst);
    let posted = poster.join().unwrap();
    for number in 1..=posted {
        let frame = listener.hear();
        let told = (&frame["offset"], &frame["data"]["number"]);
        assert_eq!(told, (&json!(number), &json!(number)), "{frame}");
    }
    drop(listener);
    assert!(front.stop().is_clean());
    drop(gateway.finish());
    assert!(far.stop().is_clean());
    endpoint.finish();
}
