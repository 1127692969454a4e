//! Who talks without a pause, each in one way.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::ledger::{Board, Placed, Said};
use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::websocket::WebSocketClient;

pub fn connect(server: SocketAddr) -> ChatClient {
    ChatClient::on(WebSocketClient::connect(server, "/ws"))
}

/// Says one message after the other until it is over; gives what was answered.
fn talk(
    (talker, room): (u64, usize),
    board: &Board,
    mut say: impl FnMut(Value) -> Option<u64>,
) -> Vec<(Said, Option<u64>)> {
    let mut answered = Vec::new();
    while !board.is_over() {
        let count = answered.len() as u64 + 1;
        let said = Said { talker, count };
        answered.push((said, say(said.message(room))));
        board.said_one();
    }
    answered
}

fn placed(room: usize, answered: Vec<(Said, Option<u64>)>) -> Vec<Placed> {
    let placed = answered.into_iter().map(|(said, offset)| Placed {
        room,
        offset: offset.expect("a server says where a message stands"),
        said,
    });
    placed.collect()
}

pub fn by_websocket(server: SocketAddr, talker: u64, room: usize, board: &Board) -> Vec<Placed> {
    let mut client = connect(server);
    client.ok(json!({"type": "login", "uid": format!("talker-{talker}"), "rooms": []}));
    let say = |mut message: Value| {
        message["type"] = "say".into();
        client.ok(message)["offset"].as_u64()
    };
    placed(room, talk((talker, room), board, say))
}

pub fn by_http(server: SocketAddr, talker: u64, room: usize, board: &Board) -> Vec<Placed> {
    let mut http = HttpClient::connect(server);
    let say = |message: Value| {
        let (status, answer) = http.json("POST", "/v1/messages", &message);
        assert_eq!(status, 200, "{answer}");
        answer["results"][0]["offset"].as_u64()
    };
    placed(room, talk((talker, room), board, say))
}

/// Through a gateway, which answers before the server has the message.
pub fn by_gateway(gateway: SocketAddr, talker: u64, board: &Board) -> Vec<Said> {
    let mut http = HttpClient::connect(gateway);
    let say = |message: Value| {
        let (status, answer) = http.json("POST", "/v1/messages", &message);
        assert_eq!(status, 202, "{answer}");
        None
    };
    let answered = talk((talker, 0), board, say);
    answered.into_iter().map(|(said, _)| said).collect()
}

/// Asks once on a connection that stays and once on a new one, again and again; gives how often.
pub fn ask(server: SocketAddr, board: &Board) -> u64 {
    let mut kept = HttpClient::connect(server);
    let mut asked = 0;
    while !board.is_over() {
        assert_eq!(kept.get("/readyz").status, 200);
        assert_eq!(HttpClient::connect(server).get("/healthz").status, 200);
        asked += 2;
    }
    asked
}
