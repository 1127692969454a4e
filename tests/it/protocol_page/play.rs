//! Plays the page: starts its servers, speaks for its clients, and compares the answers.
//!
//! The comments of the page, each on a line of its own:
//!
//! | comment | effect |
//! |---|---|
//! | `server: open a.b=c` | a new server without keys, with these settings; all before is forgotten |
//! | `server: keys a.b=c` | the same with keys |
//! | `gateway: KEY` | a gateway before this server; requests go to it from now on |
//! | `let: TEXT = token ann team-* 1h` | TEXT of the page stands for such a token |
//! | `let: TEXT = api-key` | TEXT of the page stands for the API key |
//! | `as: ann` | the client of lines without a name |
//! | `login: ann tea lobby` | ann logs in, and nobody sees it |
//! | `post: {"to":…}` | a message is posted, and nobody sees it |
//! | `unheard: ann` | ann may hear more than is shown |
//! | `flood: ann tea` | tea is spoken into until ann, who reads nothing, is closed |
//! | `damage: TEXT` | the TEXT of stored messages is damaged on the disk |
//! | `stop` | the server is told to stop |
//! | `table: name` | names the table that follows |

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::likeness::{Bindings, ELLIPSIS};
use super::page::{Kind, Line, Page, Side};
use super::wire::{Heard, Wire};
use crate::support::api::ask_json;
use crate::support::http::HttpClient;
use crate::support::keys::Keys;
use crate::support::program::Program;

/// Answers of which the page shows only a part.
const SHOWN_IN_PART: [&str; 4] = ["/v1/stats", "/metrics", "/openapi.json", "/"];

/// Fields of an answer that the page needn't show.
const FIELDS_UNSHOWN: [&str; 5] = [
    "date: ",
    "content-length: ",
    "connection: ",
    "keep-alive: ",
    "x-content-type-options: ",
];
const POST: (&str, &str) = ("POST", "HTTP/1.1");
const JSON_FIELD: &str = "content-type: application/json";

/// Everything that was sent and compared.
#[derive(Debug, Default)]
pub struct Shown {
    pub blocks: usize,
    /// Types of frames.
    pub sent: BTreeSet<String>,
    pub received: BTreeSet<String>,
    /// Error codes, on WebSockets and by HTTP.
    pub errors: BTreeSet<String>,
    pub closes: BTreeSet<String>,
    /// Requests such as `GET /v1/rooms/tea`.
    pub requests: BTreeSet<String>,
    pub gateway_requests: BTreeSet<String>,
    pub statuses: BTreeSet<String>,
}

/// Plays the whole page. A difference is told with its line, and the rest of its scene is passed over.
pub fn all(page: &Page) -> (Shown, Vec<String>) {
    let (mut shown, mut problems) = (Shown::default(), Vec::new());
    let mut scene: Option<Scene> = None;
    let mut is_broken = false;
    for item in &page.items {
        let begins = matches!(&item.kind, Kind::Stage { word, .. } if word == "server");
        if begins {
            let before = scene.take();
            if let (Some(before), false) = (before, is_broken) {
                problems.extend(before.end().err());
            }
            is_broken = false;
        } else if is_broken {
            shown.blocks += usize::from(!matches!(item.kind, Kind::Stage { .. }));
            continue;
        }
        let played = catch_unwind(AssertUnwindSafe(|| match &item.kind {
            Kind::Stage { word, rest } => stage(&mut scene, word, rest),
            Kind::Talk(lines) => on(&mut scene)?.talk(lines, &mut shown),
            Kind::Exchange(lines) => on(&mut scene)?.exchange(lines, &mut shown),
        }));
        shown.blocks += usize::from(!matches!(item.kind, Kind::Stage { .. }));
        let played = played.unwrap_or_else(|_| Err("it panicked".into()));
        if let Err(problem) = played {
            problems.push(format!("line {}: {problem}", item.line));
            is_broken = true;
        }
    }
    if let (Some(last), false) = (scene, is_broken) {
        problems.extend(last.end().err());
    }
    (shown, problems)
}

fn on(scene: &mut Option<Scene>) -> Result<&mut Scene, String> {
    scene
        .as_mut()
        .ok_or_else(|| "there is no server yet".into())
}

fn stage(scene: &mut Option<Scene>, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "table" => Ok(()),
        "server" => {
            *scene = Some(Scene::begin(rest));
            Ok(())
        }
        _ => on(scene)?.stage(word, rest),
    }
}

/// A server and its clients.
struct Scene {
    people: BTreeMap<String, Person>,
    speaker: String,
    bindings: Bindings,
    /// Texts of the page, each with the text that it stands for.
    lets: Vec<(String, String)>,
    keys: Option<Keys>,
    gateway: Option<Program>,
    server: Program,
    /// Folder with the data of the server and the gateway.
    folder: TempDir,
    stops: bool,
}

struct Person {
    wire: Wire,
    is_heard: bool,
    is_closed: bool,
    /// Messages of a flood aren't shown.
    is_flooded: bool,
}

impl Scene {
    fn begin(setting: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (kind, settings) = setting.split_once(' ').unwrap_or((setting, ""));
        let keys = match kind {
            "open" => None,
            "keys" => Some(Keys::make()),
            other => panic!("a server is open or has keys, but not {other}"),
        };
        let data = format!("store.data={}", folder.path().join("data").display());
        let mut flags = Vec::new();
        let file = keys.as_ref().map(Keys::file);
        if let Some(file) = &file {
            flags.extend(["--config", file]);
        }
        for setting in ["node=chat-1", &data]
            .into_iter()
            .chain(settings.split(' '))
        {
            if !setting.is_empty() {
                flags.extend(["--set", setting]);
            }
        }
        Self {
            people: BTreeMap::new(),
            speaker: String::new(),
            bindings: Bindings::default(),
            lets: Vec::new(),
            server: Program::serve(&flags),
            keys,
            gateway: None,
            folder,
            stops: false,
        }
    }

    fn stage(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let mut words = rest.split(' ');
        let first = words.next().unwrap_or_default();
        match word {
            "as" => self.speaker = rest.into(),
            "let" => self.bind(rest)?,
            "login" => {
                let rooms: String = words.map(|room| format!("&room={room}")).collect();
                let path = format!("/ws?uid={first}{rooms}");
                let mut wire = Wire::open(self.server.address, &path, "")?;
                for kind in ["hello", "ok"] {
                    let heard = wire.hear_but_pings()?;
                    let is_so = |text: &str| text.starts_with(&format!(r#"{{"type":"{kind}""#));
                    if !matches!(&heard, Heard::Text(text) if is_so(text)) {
                        return Err(format!("{first} hears {heard:?}, and no {kind}"));
                    }
                }
                self.people.insert(first.into(), Person::new(wire));
            }
            "post" => {
                let fields = "Content-Type: application/json\r\n";
                let request = request(POST, "/v1/messages", fields, rest);
                let (status, _, body) = ask(&self.server, "POST", &request)?;
                if status != 200 {
                    return Err(format!("{status} {body}"));
                }
            }
            "unheard" => self.person(first)?.is_heard = false,
            "flood" => self.flood(first, words.next().unwrap_or_default())?,
            "damage" => self.damage(rest)?,
            "gateway" => self.begin_gateway(rest),
            "stop" => {
                self.server.signal(Signal::TERM);
                self.stops = true;
            }
            other => return Err(format!("nothing is known of {other}")),
        }
        Ok(())
    }

    /// Reads `TEXT = MEANING`.
    fn bind(&mut self, rest: &str) -> Result<(), String> {
        let (text, meaning) = rest.split_once(" = ").ok_or("it takes TEXT = MEANING")?;
        let keys = self.keys.as_ref().ok_or("this server has no keys")?;
        let words: Vec<&str> = meaning.split(' ').collect();
        let real = match words[..] {
            ["api-key"] => keys.api_key.clone(),
            ["token", uid, rooms, ttl] => keys.token(uid, rooms, ttl),
            _ => return Err(format!("nothing is known of {meaning}")),
        };
        self.lets.push((text.into(), real));
        Ok(())
    }

    fn begin_gateway(&mut self, key: &str) {
        let upstream = format!("ws://{}/link", self.server.address);
        let gateway = Program::start(
            Command::new(env!("CARGO_BIN_EXE_tidings"))
                .args(["gateway", "--listen", "127.0.0.1:0", "--name", "gw-1"])
                .args(["--upstream", &upstream, "--data"])
                .arg(self.folder.path().join("outbox"))
                .env("TIDINGS_GATEWAY_LINK_KEY", key),
        );
        self.gateway = Some(gateway);
    }

    fn person(&mut self, name: &str) -> Result<&mut Person, String> {
        let person = self.people.get_mut(name);
        person.ok_or_else(|| format!("{name:?} isn't connected"))
    }

    /// Makes a text of the page the one that is sent.
    fn real(&mut self, text: &str) -> String {
        let mut text = self.bindings.put_into(text);
        for (of_page, real) in &self.lets {
            text = text.replace(of_page, real);
        }
        text
    }

    fn flood(&mut self, name: &str, room: &str) -> Result<(), String> {
        let sockets = |server: &Program| {
            ask_json(server, "GET", "/v1/stats").1["totals"]["websockets"].clone()
        };
        let before = sockets(&self.server);
        let message = json!({"to": {"room": room}, "data": "x".repeat(60_000)}).to_string();
        let fields = "Content-Type: application/json\r\n";
        let request = request(POST, "/v1/messages", fields, &message);
        let mut count = 0;
        while sockets(&self.server) == before {
            ask(&self.server, "POST", &request)?;
            count += 1;
            if count > 5_000 {
                return Err(format!("{name} isn't closed"));
            }
        }
        self.person(name)?.is_flooded = true;
        Ok(())
    }

    fn damage(&mut self, text: &str) -> Result<(), String> {
        let journal = self.folder.path().join("data/journal-0000000001.log");
        let bytes = std::fs::read(&journal).map_err(|error| error.to_string())?;
        let file = std::fs::File::options().write(true).open(&journal).unwrap();
        let mut count = 0;
        for (at, part) in bytes.windows(text.len()).enumerate() {
            if part == text.as_bytes() {
                file.write_all_at(b"?", at as u64).unwrap();
                count += 1;
            }
        }
        match count {
            0 => Err(format!("{text} isn't on the disk")),
            _ => Ok(()),
        }
    }

    fn talk(&mut self, lines: &[Line], shown: &mut Shown) -> Result<(), String> {
        let mut lines = lines.iter().peekable();
        while let Some(line) = lines.next() {
            let at = |problem: String| format!("line {}: {problem}", line.number);
            let who = line.who.clone().unwrap_or_else(|| self.speaker.clone());
            if let (Side::Client, Some(path)) = (line.from, line.text.strip_prefix("GET ")) {
                let path = self.real(path);
                let mut fields = String::new();
                while let Some(next) = lines.next_if(|next| is_field(next) && next.who == line.who)
                {
                    fields += &format!("{}\r\n", self.real(&next.text));
                }
                let wire = Wire::open(self.server.address, &path, &fields).map_err(at)?;
                let before = self.people.insert(who.clone(), Person::new(wire));
                if before.is_some_and(|before| !before.is_closed) {
                    return Err(at(format!("{who} is connected already")));
                }
                continue;
            }
            match line.from {
                Side::Client => self.send(&who, &line.text, shown),
                Side::Server => self.hear(&who, &line.text, shown),
            }
            .map_err(at)?;
        }
        Ok(())
    }

    fn send(&mut self, who: &str, text: &str, shown: &mut Shown) -> Result<(), String> {
        let text = self.real(text);
        let wire = &mut self.person(who)?.wire;
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            "Close" => {
                let code: u16 = rest.parse().map_err(|_| "Close takes a code")?;
                wire.frame(0x88, &code.to_be_bytes())
            }
            "Ping" => wire.frame(0x89, b""),
            "Pong" => wire.frame(0x8a, b""),
            "Binary" => wire.frame(0x82, &bytes(rest)?),
            "Bytes" => wire.bytes(&bytes(rest)?),
            _ => {
                if let Ok(value) = serde_json::from_str::<Value>(&text) {
                    shown.sent.extend(types(&value));
                }
                wire.say(&text)
            }
        }
    }

    fn hear(&mut self, who: &str, text: &str, shown: &mut Shown) -> Result<(), String> {
        let person = self.person(who)?;
        let heard = loop {
            let heard = match text {
                "Ping" => person.wire.hear()?,
                _ => person.wire.hear_but_pings()?,
            };
            let is_msg = |text: &str| text.starts_with(r#"{"type":"msg""#);
            let is_flood = matches!(&heard, Heard::Text(text) if person.is_flooded && is_msg(text));
            if !is_flood {
                break heard;
            }
        };
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let differs = || Err(format!("{who} hears {heard:?}"));
        match (&heard, word) {
            (Heard::Ping, "Ping") | (Heard::Pong, "Pong") => Ok(()),
            (Heard::Binary(heard), "Binary") if *heard == bytes(rest)? => Ok(()),
            (Heard::Close(code, reason), "Close") => {
                if format!("{code} {reason}").trim_end() != rest {
                    return differs();
                }
                person.is_closed = true;
                shown.closes.insert(code.to_string());
                person.wire.shut();
                match person.wire.hear()? {
                    Heard::End => Ok(()),
                    other => Err(format!("behind its Close {who} hears {other:?}")),
                }
            }
            (Heard::Text(heard), _) => match serde_json::from_str::<Value>(text) {
                Ok(of_page) => {
                    let real = serde_json::from_str(heard);
                    let real = real.map_err(|_| format!("{who} hears {heard}"))?;
                    let compared = self.bindings.compare(&of_page, &real);
                    compared.map_err(|problem| format!("{problem}\n  it is {heard}"))?;
                    shown.received.extend(types(&of_page));
                    shown.errors.extend(error_code(&of_page));
                    Ok(())
                }
                Err(_) if heard == text => Ok(()),
                Err(_) => differs(),
            },
            _ => differs(),
        }
    }

    fn exchange(&mut self, lines: &[String], shown: &mut Shown) -> Result<(), String> {
        let answers = lines.iter().position(|line| line.starts_with("HTTP/1.1 "));
        let (asked, answered) = lines.split_at(answers.ok_or("it has no answer")?);
        let (head, body) = head_and_body(asked);
        let words: Vec<&str> = head[0].split(' ').collect();
        let [method, path, version] = words[..] else {
            return Err(format!("{} is no request", head[0]));
        };
        let (path, body) = (self.real(path), self.real(&body));
        let fields: String = head[1..]
            .iter()
            .map(|field| format!("{}\r\n", self.real(field)))
            .collect();
        let request = request((method, version), &path, &fields, &body);
        let asked = self.gateway.as_ref().unwrap_or(&self.server);
        let (status, fields, answer) = ask(asked, method, &request)?;

        let (head, of_page) = head_and_body(answered);
        let whole = || format!("\n  it is {status}\n{fields}\n{answer}");
        let (_, line) = head[0].split_once(' ').ok_or("it has no status")?;
        if line.split(' ').next() != Some(&status.to_string()) {
            return Err(format!("the status differs{}", whole()));
        }
        let mut unshown: Vec<&str> = fields.lines().filter(|line| !line.is_empty()).collect();
        for field in &head[1..] {
            let field = field.to_lowercase();
            let at = unshown.iter().position(|real| is_same_field(real, &field));
            let at = at.ok_or_else(|| format!("{field} is missing{}", whole()))?;
            unshown.remove(at);
        }
        unshown.retain(|field| {
            *field != JSON_FIELD && !FIELDS_UNSHOWN.iter().any(|known| field.starts_with(known))
        });
        if !unshown.is_empty() {
            return Err(format!("{unshown:?} isn't in the page{}", whole()));
        }
        let plain = path.split('?').next().unwrap_or_default();
        if of_page.contains(ELLIPSIS) && !SHOWN_IN_PART.contains(&plain) {
            return Err("all of this answer is to be shown".into());
        }
        self.body(&of_page, &answer)
            .map_err(|problem| format!("{problem}{}", whole()))?;
        // A HEAD is a GET of which only the head is shown.
        let method = if method == "HEAD" { "GET" } else { method };
        let requests = match &self.gateway {
            Some(_) => &mut shown.gateway_requests,
            None => &mut shown.requests,
        };
        requests.insert(format!("{method} {plain}"));
        shown.statuses.insert(status.to_string());
        if let Ok(answer) = serde_json::from_str::<Value>(&answer) {
            shown.errors.extend(error_code(&answer["error"]));
        }
        Ok(())
    }

    fn body(&mut self, of_page: &str, real: &str) -> Result<(), String> {
        let in_part = of_page
            .replace(", …", r#","…":0"#)
            .replace("{…", r#"{"…":0"#);
        if let Ok(of_page) = serde_json::from_str::<Value>(&in_part) {
            let real = serde_json::from_str(real);
            let real = real.map_err(|_| "the body is no JSON".to_owned())?;
            return self.bindings.compare(&of_page, &real);
        }
        if !of_page.contains(ELLIPSIS) {
            return match of_page == real.trim_end() {
                true => Ok(()),
                false => Err("the body differs".into()),
            };
        }
        let mut lines = real.lines();
        for line in of_page.lines().filter(|line| *line != ELLIPSIS) {
            if !lines.any(|real| real == line) {
                return Err(format!("there is no line {line}"));
            }
        }
        Ok(())
    }

    /// Ends the scene: no client has heard more than is shown, and the server ends well.
    fn end(mut self) -> Result<(), String> {
        let heard = self.people.iter_mut();
        for (name, person) in heard.filter(|(_, person)| person.is_heard && !person.is_closed) {
            person.wire.say("PING")?;
            let heard = person.wire.hear_but_pings()?;
            if heard != Heard::Text("PONG".into()) {
                return Err(format!(
                    "{name} hears {heard:?} at the end, which isn't shown"
                ));
            }
        }
        self.people.clear();
        if let Some(gateway) = self.gateway {
            gateway.stop();
        }
        match self.stops {
            true if self.server.exit_code() != 0 => Err("the server didn't end well".into()),
            true => Ok(()),
            false => {
                self.server.stop();
                Ok(())
            }
        }
    }
}

impl Person {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            is_heard: true,
            is_closed: false,
            is_flooded: false,
        }
    }
}

/// Tells whether a line of a client belongs to the request before it.
fn is_field(line: &Line) -> bool {
    let name = line.text.split_once(": ").map(|(name, _)| name);
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
    line.from == Side::Client && name.is_some_and(is_name)
}

fn types(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(types).collect(),
        value => value["type"].as_str().map(Into::into).into_iter().collect(),
    }
}

/// Finds the code of an `err`, of a `pub_err`, or of an error by HTTP.
fn error_code(value: &Value) -> Option<String> {
    let is_kick = value["type"] == "kick";
    let code = value["code"].as_str().filter(|_| !is_kick);
    code.map(Into::into)
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let bytes = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16));
    bytes
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{hex}: {error}"))
}

fn head_and_body(lines: &[String]) -> (Vec<String>, String) {
    let blank = lines
        .iter()
        .position(String::is_empty)
        .unwrap_or(lines.len());
    let (head, body) = lines.split_at(blank);
    (head.to_vec(), body.join("\n").trim().to_owned())
}

fn request((method, version): (&str, &str), path: &str, fields: &str, body: &str) -> String {
    let lower = fields.to_lowercase();
    let has = |name: &str| lower.starts_with(name) || lower.contains(&format!("\n{name}"));
    let mut head = format!("{method} {path} {version}\r\n");
    if !has("host:") {
        head += "Host: 127.0.0.1\r\n";
    }
    if !has("content-length:") && !has("transfer-encoding:") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{head}{fields}\r\n{body}")
}

/// Compares two fields of an answer. A wait may be shorter than in the page: the test has taken some
/// of that time.
fn is_same_field(real: &str, of_page: &str) -> bool {
    let wait = |field: &str| field.strip_prefix("retry-after: ")?.parse::<u64>().ok();
    match (wait(real), wait(of_page)) {
        (Some(real), Some(of_page)) => (1..=of_page).contains(&real),
        _ => real == of_page,
    }
}

/// Sends a request, and gives status, fields and body of the answer.
fn ask(server: &Program, method: &str, request: &str) -> Result<(u16, String, String), String> {
    let mut http = HttpClient::connect(server.address);
    http.send(request).map_err(|error| error.to_string())?;
    let answer = match method {
        "HEAD" => http.head(),
        _ => http.answer(),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    Ok((
        answer.status,
        answer.fields.replace("\r\n", "\n"),
        answer.body,
    ))
}
