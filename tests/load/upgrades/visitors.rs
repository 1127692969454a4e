//! Who comes, is cut and comes back, and who listens slowly.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::ledger::{Board, Placed, ROOMS};
use super::talkers::connect;
use crate::support::api::post;
use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::random::Random;
use crate::support::websocket::{Heard, WebSocketClient};

/// The longest stay of one who comes and goes.
const STAY_MS_MAX: u64 = 300;

/// Bytes that the kernel takes for one who listens slowly: so few that others wait at the server, and enough
/// for a window that opens in steps that TCP tells of at once.
const TAKEN_BY_KERNEL: usize = 16_384;

/// A room of those alone.
const SLOW_ROOM: &str = "mem-slow";

/// Bytes of a segment to one who listens slowly: the kernel of the server takes some tens of them for it.
const SEGMENT: u32 = 536;

/// What one who comes and goes did and heard.
#[derive(Default)]
pub struct Visits {
    pub cuts: u64,
    pub fds: Vec<u64>,
    pub heard: Vec<Placed>,
}

/// Comes, listens for a while, is cut in one of three ways, and resumes where it was.
pub fn come_and_go(server: SocketAddr, number: u64, seed: u64, board: &Board) -> Visits {
    let mut random = Random::new(seed ^ (number << 32));
    let mut visits = Visits::default();
    let mut places: HashMap<&str, Position> = HashMap::new();
    while !board.is_over() {
        let mut client = connect(server);
        visits.fds.push(client.fd());
        let resume: Value = places
            .iter()
            .map(|(room, place)| (room.to_string(), place.json()))
            .collect();
        let login = json!({"type": "login", "uid": format!("visitor-{number}"), "rooms": ROOMS,
            "resume": resume});
        let ok = client.ok_keeping(login);
        for room in ROOMS {
            let welcome = &ok["channels"][room];
            match places.get(room) {
                Some(place) => {
                    assert_eq!(welcome["recovered"], true, "{room} from {place:?}: {ok}");
                    assert_eq!(welcome["epoch"], place.epoch, "{room}: {ok}");
                }
                None => drop(places.insert(room, Position::of(welcome))),
            }
        }
        let stay = Duration::from_millis(random.below(STAY_MS_MAX));
        listen(&mut client, stay, &mut places, &mut visits.heard);
        cut(client.client, &mut random);
        visits.cuts += 1;
    }
    visits
}

fn listen(
    client: &mut ChatClient,
    time: Duration,
    places: &mut HashMap<&str, Position>,
    heard: &mut Vec<Placed>,
) {
    let mut take = |frame: Value| {
        if frame["type"] == "msg" {
            let placed = Placed::of(&frame);
            let room = ROOMS[placed.room];
            assert_follows(&frame, room, places.get_mut(room).unwrap());
            heard.push(placed);
        }
    };
    client.take_waiting().for_each(&mut take);
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match client.client.hear_within(left) {
            Some(Heard::Text(text)) => take(parsed(&text)),
            Some(Heard::Ping) | None => {}
            Some(other) => panic!("a visitor was sent away: {other:?}"),
        }
    }
}

/// Ends a connection by a reset, in the middle of a frame, or by its end alone.
fn cut(mut client: WebSocketClient, random: &mut Random) {
    match random.below(3) {
        0 => client.reset(),
        1 => drop(client.stream().write_all(b"\x81")),
        _ => {}
    }
}

/// One to whom more was said before a change than the kernel takes for it: the rest waits at the server.
pub struct Slow {
    client: ChatClient,
    place: Position,
    newest: u64,
}

impl Slow {
    pub fn come(server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_tcp_mss(SEGMENT).unwrap();
        socket.set_recv_buffer_size(TAKEN_BY_KERNEL).unwrap();
        socket.connect(&server.into()).unwrap();
        let narrow = WebSocketClient::upgrade(socket.into(), "/ws", &[]).unwrap();
        let login = json!({"uid": "slow", "rooms": [SLOW_ROOM]});
        let (client, ok) = ChatClient::login_with(narrow, login);
        let place = Position::of(&ok["channels"][SLOW_ROOM]);
        let data = json!("x".repeat(16_000));
        let newest = post(&mut HttpClient::connect(server), SLOW_ROOM, 50, &data);
        assert_eq!(newest.epoch, place.epoch, "the channel began anew");
        Self {
            client,
            place,
            newest: newest.offset,
        }
    }

    /// Hears all of it.
    pub fn hear(mut self) {
        let heard = self.client.follow(SLOW_ROOM, &mut self.place, self.newest);
        assert_eq!(heard.len(), 50);
    }
}
