//! One notion of a valid message: whatever one door takes each other takes, and what one refuses each
//! other refuses with the same code. The doors are WebSocket, HTTP, batch, link and gateway.

use serde_json::{Value, json};

use crate::gateway::machine::{LINK_KEY, Machine};
use crate::support::http::{HttpClient, JSON};
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::websocket::WebSocketClient;

/// The key that all doors but the link ask for.
const KEY: &str = "a-key-of-the-shop-0123";

/// A place where messages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    WebSocket,
    Http,
    Batch,
    Link,
    Gateway,
}

const DOORS: [Door; 5] = [
    Door::WebSocket,
    Door::Http,
    Door::Batch,
    Door::Link,
    Door::Gateway,
];

/// A server and a gateway with the same key, and a client at each door.
struct Doors {
    server: Program,
    _machine: Machine,
    http: HttpClient,
    gateway: HttpClient,
    websocket: WebSocketClient,
    link: WebSocketClient,
    /// Links that were opened.
    links: u32,
    /// Messages on the present link.
    n: u32,
    seq: u32,
}

impl Doors {
    fn open() -> Self {
        let key = format!("api_keys.shop.key={KEY}");
        let uplink = format!("uplink.key={LINK_KEY}");
        let server = Program::serve(&["--set", &key, "--set", &uplink]);
        // Nobody is there, so that what the gateway has taken disturbs nobody.
        let machine = Machine::start_with(&["127.0.0.1:9".parse().unwrap()], &["--set", &key]);
        let bearer = format!("Bearer {KEY}");
        let mut websocket = server.websocket_with("/ws", &[("Authorization", &bearer)]);
        assert_eq!(parsed(&websocket.hear_text())["type"], "hello");
        Self {
            http: server.http(),
            gateway: HttpClient::connect(machine.address()),
            link: Self::link(&server, 0),
            websocket,
            server,
            _machine: machine,
            links: 0,
            n: 0,
            seq: 0,
        }
    }

    fn link(server: &Program, number: u32) -> WebSocketClient {
        let bearer = format!("Bearer {LINK_KEY}");
        let mut link = server.websocket_with("/link", &[("Authorization", &bearer)]);
        link.say(format!(
            r#"{{"type":"open","producer":"p{number}","name":"gw","first":1}}"#
        ));
        assert_eq!(parsed(&link.hear_text())["type"], "open_ok");
        link
    }

    /// The code with which a message is refused at a door; empty when it is taken.
    fn verdict(&mut self, door: Door, posting: &str) -> String {
        match door {
            Door::WebSocket => self.say(posting),
            Door::Link => self.publish(posting),
            Door::Http => posted(&mut self.http, "/v1/messages", posting),
            Door::Gateway => posted(&mut self.gateway, "/v1/messages", posting),
            Door::Batch => {
                let batch = format!(r#"{{"messages":[{posting}]}}"#);
                posted(&mut self.http, "/v1/messages/batch", &batch)
            }
        }
    }

    fn say(&mut self, posting: &str) -> String {
        self.seq += 1;
        let seq = self.seq;
        self.websocket.say(with_fields(
            posting,
            &format!(r#""type":"say","seq":{seq}"#),
        ));
        let answer = parsed(&self.websocket.hear_text());
        match answer["type"].as_str() {
            Some("ok") => String::new(),
            _ => code(&answer["code"]),
        }
    }

    fn publish(&mut self, posting: &str) -> String {
        self.n += 1;
        let n = self.n;
        self.link
            .say(with_fields(posting, &format!(r#""type":"pub","n":{n}"#)));
        let answer = parsed(&self.link.hear_text());
        match answer["type"].as_str() {
            Some("pub_ack") => String::new(),
            Some("pub_err") => code(&answer["code"]),
            // What is no frame at all ends the link.
            _ => {
                let refused = code(&answer["code"]);
                self.links += 1;
                self.n = 0;
                self.link = Self::link(&self.server, self.links);
                refused
            }
        }
    }

    /// Everything that the room keeps, as a reader reads it that takes nothing but strict JSON.
    fn history(&mut self) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/rooms/tea/messages?after={after}&limit=1000");
            let fields = format!("Authorization: Bearer {KEY}\r\n");
            let answer = self.http.ask_with("GET", &path, &fields, "").unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let page = parsed(&answer.body);
            all.extend(page["messages"].as_array().unwrap().clone());
            if page["more"] == false {
                return all;
            }
            after = all.last().unwrap()["offset"].as_u64().unwrap();
        }
    }
}

/// A posting as a frame: these fields stand before its own.
fn with_fields(posting: &str, fields: &str) -> String {
    match posting.trim_start().strip_prefix('{') {
        Some(rest) if rest.trim() == "}" => format!("{{{fields}}}"),
        Some(rest) => format!("{{{fields},{rest}"),
        None => posting.to_owned(),
    }
}

fn posted(http: &mut HttpClient, path: &str, body: &str) -> String {
    let fields = format!("Authorization: Bearer {KEY}\r\n{JSON}");
    let answer = http.ask_with("POST", path, &fields, body).unwrap();
    let answer = parsed(&answer.body);
    let errors = [&answer["error"], &answer["results"][0]["error"]];
    let error = errors.into_iter().find(|error| error.is_object());
    error.map(|error| code(&error["code"])).unwrap_or_default()
}

fn code(code: &Value) -> String {
    code.as_str().expect("a refusal has a code").to_owned()
}

/// Messages with one receiver, and the code with which each door refuses them.
fn table() -> Vec<(String, &'static str)> {
    let to = |to: &str| format!(r#"{{"to":{to},"data":1,"id":"i"}}"#);
    let data = |data: &str| format!(r#"{{"to":{{"room":"tea"}},"id":"i","data":{data}}}"#);
    let more = |more: &str| format!(r#"{{"to":{{"room":"tea"}},"data":1,{more}}}"#);
    let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
    let long = |size| format!(r#""{}""#, "x".repeat(size));
    let room = |name: &str| to(&format!(r#"{{"room":{name}}}"#));
    let user = |name: &str| to(&format!(r#"{{"user":{name}}}"#));
    let mut table: Vec<(String, &str)> = Vec::new();
    for taken in [
        to(r#"{"room":"tea"}"#),
        to(r#"{"room":"tea","user":null,"all":null}"#),
        to(r#"{"\u0072oom":"t\u0065a"}"#),
        to(r#"{"all":true}"#),
        user("42"),
        user("-7"),
        user(r#""ann""#),
        room(&long(255)),
        user(&long(254)),
        data("null"),
        data("1e308"),
        data("1e-999"),
        data(r#""\ud83d\ude00""#),
        data(r#"{"a":1,"a":2,"":{}}"#),
        data(&nested(64)),
        more(r#""id":12"#),
        more(r#""id":"i","from":7"#),
        more(r#""id":"i","from":null,"store":null"#),
        more(r#""id":"i","store":false"#),
        more(&format!(r#""id":{}"#, long(64))),
        more(r#""id":"i","from":"sh\u006Fp""#),
        "\t{ \"id\" : \"i\" , \"data\" : [ 1 ] , \"to\" : { \"room\" : \"tea\" } }\n".to_owned(),
    ] {
        table.push((taken, ""));
    }
    for refused in [
        to("null"),
        to("[]"),
        to("{}"),
        to(r#"["tea"]"#),
        to(r#""tea""#),
        to(r#"{"room":"tea","user":"ann"}"#),
        to(r#"{"room":"tea","x":1}"#),
        to(r#"{"all":false}"#),
        to(r#"{"all":1}"#),
        to(r#"{"room":"tea","room":"tea"}"#),
        room("5"),
        room(r#""""#),
        room(r#""@ann""#),
        room(r#""*""#),
        room(r#""a\u0000""#),
        room(r#""\ud83d""#),
        room(&long(256)),
        user("true"),
        user("1.5"),
        user(r#""""#),
        user(r#""\udc00""#),
        user(&long(255)),
        data(r#""\ud83d""#),
        data(r#"{"\udc00":1}"#),
        data("1e999"),
        data("[0,-1E400]"),
        data(&nested(65)),
        data("01"),
        data("'a'"),
        data("NaN"),
        more(r#""id":"""#),
        more(r#""id":true"#),
        more(r#""id":1.5"#),
        more(r#""id":"\ud800""#),
        more(&format!(r#""id":{}"#, long(65))),
        more(r#""id":"i","from":"""#),
        more(r#""id":"i","from":{}"#),
        more(&format!(r#""id":"i","from":{}"#, long(255))),
        more(r#""id":"i","store":"no""#),
        more(r#""id":"i","store":0"#),
        more(r#""id":"i","stroe":false"#),
        more(r#""id":"i","ttl":{"s":[1]}"#),
        more(r#""id":"i","data":1"#),
        more(r#""id":"i","id":"j""#),
        r#"{"to":{"room":"tea"},"id":"i"}"#.to_owned(),
        r#"{"data":1,"id":"i"}"#.to_owned(),
        r#"{"to":{"room":"tea"},"data":1,"id":"i",}"#.to_owned(),
        "{}".to_owned(),
    ] {
        table.push((refused, "bad_request"));
    }
    table
}

#[test]
fn each_door_judges_a_message_as_all_others_do() {
    let mut doors = Doors::open();
    for (posting, code) in table() {
        for door in DOORS {
            let verdict = doors.verdict(door, &posting);
            assert_eq!(verdict, code, "{door:?}: {posting}");
        }
    }
    let kept = doors.history();
    assert!(kept.len() >= 5, "{kept:?}");
}

#[test]
fn several_receivers_a_connection_and_exceptions_are_taken_where_the_page_says_so() {
    let mut doors = Doors::open();
    let all = [Door::Http, Door::Batch, Door::Link, Door::Gateway];
    let server = [Door::Http, Door::Batch];
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|name| name.to_string()).collect();
        format!(
            r#"{{"to":{{"users":[{}]}},"data":1,"id":"i"}}"#,
            names.join(",")
        )
    };
    for (posting, taken_at) in [
        (
            r#"{"to":{"rooms":["tea","b"]},"data":1,"id":"i"}"#.to_owned(),
            &all[..],
        ),
        (
            r#"{"to":{"users":["ann",42]},"data":1,"id":"i"}"#.to_owned(),
            &all[..],
        ),
        (many(100), &all[..]),
        (many(101), &[]),
        (
            r#"{"to":{"rooms":"tea"},"data":1,"id":"i"}"#.to_owned(),
            &[],
        ),
        (r#"{"to":{"rooms":[5]},"data":1,"id":"i"}"#.to_owned(), &[]),
        (
            r#"{"to":{"users":[1.5]},"data":1,"id":"i"}"#.to_owned(),
            &[],
        ),
        (
            r#"{"to":{"room":"tea"},"data":1,"id":"i","store":false,"except":[7]}"#.to_owned(),
            &server,
        ),
        (
            r#"{"to":{"room":"tea"},"data":1,"id":"i","except":[7]}"#.to_owned(),
            &[],
        ),
    ] {
        for door in DOORS {
            let expected = match taken_at.contains(&door) {
                true => "",
                false => "bad_request",
            };
            let verdict = doors.verdict(door, &posting);
            assert_eq!(verdict, expected, "{door:?}: {posting}");
        }
    }
}

/// A message made of parts that are right, wrong, and right in a strange way.
fn made(random: &mut Random) -> String {
    let to = random.pick(&[
        r#"{"room":"tea"}"#,
        r#"{"room":"tea"}"#,
        r#"{"user":42}"#,
        r#"{"all":true}"#,
        r#"{"room":"\ud83d\ude00"}"#,
        r#"{"room":"\ud83d"}"#,
        r#"{"room":null}"#,
        "[]",
    ]);
    let data = random.pick(&[
        "null",
        r#""x""#,
        r#"{"a":[1,{"b":"\\ud83d"}]}"#,
        r#""\ud83d\u0041""#,
        "-0.0e-0",
        "1e308",
        "1e309",
        "[[[[]]]]",
        "tru",
    ]);
    let mut fields = vec![format!(r#""to":{to}"#), format!(r#""data":{data}"#)];
    let id = random.pick(&[r#""i""#, "12", "-0", r#""\u00e4""#, "1e1", "[]", "null"]);
    fields.push(format!(r#""id":{id}"#));
    let from = random.pick(&["", "", r#""from":7"#, r#""from":"a""#, r#""from":"\u0007""#]);
    let store = random.pick(&[
        "",
        "",
        r#""store":false"#,
        r#""store":null"#,
        r#""store":"x""#,
    ]);
    let other = random.pick(&["", "", "", "", "", r#""x":1"#, r#""data":2"#, r#""TO":1"#]);
    fields.extend([from, store, other].map(str::to_owned));
    fields.retain(|field| !field.is_empty());
    for last in (1..fields.len()).rev() {
        fields.swap(last, random.below(last + 1));
    }
    let space = random.pick(&["", " ", "\r\n\t"]);
    let comma = format!(",{space}");
    format!("{{{space}{}{space}}}", fields.join(&comma))
}

#[test]
fn whatever_one_door_takes_each_other_takes_and_every_reader_can_read_it() {
    let mut doors = Doors::open();
    let mut random = Random::new(12);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..400 {
        let posting = made(&mut random);
        let verdict = doors.verdict(Door::Http, &posting);
        // A link wants an id, which every gateway gives.
        let has_id = !posting.contains(r#""id":null"#);
        for door in DOORS
            .into_iter()
            .filter(|door| has_id || *door != Door::Link)
        {
            assert_eq!(
                doors.verdict(door, &posting),
                verdict,
                "{door:?}: {posting}"
            );
        }
        match verdict.is_empty() {
            true => taken += 1,
            false => refused += 1,
        }
    }
    assert!(
        taken > 20 && refused > 100,
        "{taken} taken, {refused} refused"
    );
    let kept = doors.history();
    assert!(kept.len() > 5, "{}", kept.len());
    let names = ["channel", "epoch", "offset", "id", "from", "ts", "data"];
    for message in kept {
        assert!(
            names.iter().all(|name| message.get(name).is_some()),
            "{message}"
        );
    }
    assert_eq!(
        doors.verdict(Door::Http, &json!({}).to_string()),
        "bad_request"
    );
}
