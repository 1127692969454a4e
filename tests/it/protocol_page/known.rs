//! Reads commands, messages, codes and routes out of the sources: the one place that knows how those
//! are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidings::chat::ErrorCode;

/// Every error code; `is_listed` doesn't compile when one is missing.
pub const ERROR_CODES: [ErrorCode; 12] = [
    ErrorCode::BadRequest,
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::NotMember,
    ErrorCode::NotFound,
    ErrorCode::Conflict,
    ErrorCode::TooLarge,
    ErrorCode::RateLimited,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DiskFull,
    ErrorCode::Unsettled,
];

#[expect(dead_code, reason = "it is there to be compiled")]
fn is_listed(code: ErrorCode) {
    // A variant that is added here has to be added above as well.
    match code {
        ErrorCode::BadRequest
        | ErrorCode::Unauthorized
        | ErrorCode::Forbidden
        | ErrorCode::NotMember
        | ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::TooLarge
        | ErrorCode::RateLimited
        | ErrorCode::Internal
        | ErrorCode::Unavailable
        | ErrorCode::DiskFull
        | ErrorCode::Unsettled => {}
    }
}

/// Mark of a file that reads frames; no other file has this text.
const READS_FRAMES: &str = r#" = "type""#;

/// Texts before the type of a frame that is written.
const WRITES_FRAMES: [&str; 3] = ["Json::frame(\"", ".string(\"type\", \"", "\"type\": \""];

/// Numbers that look like close codes: the beginning of the private range, and a size.
const OTHER_NUMBERS: [u16; 2] = [4000, 4096];

/// Text before the name of a close code.
const NAMED_CLOSE_CODE: &str = "CloseCode::";

/// Collects the types of all frames that are read or written, on `/ws` and `/link`, on either side.
pub fn types() -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for code in sources() {
        if code.contains(READS_FRAMES) {
            types.extend(arms(&code));
        }
        for mark in WRITES_FRAMES {
            let parts = code.split(mark).skip(1);
            types.extend(parts.filter_map(|part| Some(part.split_once('"')?.0.to_owned())));
        }
    }
    for type_ in ["say", "hello", "pub", "pub_ack"] {
        assert!(types.contains(type_), "the sources are written otherwise");
    }
    types
}

/// Collects the words before ` =>`.
fn arms(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in code.split("\" =>") {
        let mut rest = part;
        while let Some((before, word)) = rest.rsplit_once('"') {
            words.push(word.to_owned());
            let Some(more) = before.strip_suffix("\" | ") else {
                break;
            };
            rest = more;
        }
    }
    // The last part stands behind all arms.
    words.pop();
    words
}

/// Collects every close code in the sources, by number or by name.
pub fn close_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for code in sources() {
        codes.extend(numbers(&code).map(|(number, _)| number.to_owned()));
        let named = code.split(NAMED_CLOSE_CODE).skip(1);
        codes.extend(named.filter_map(|part| {
            let name = part.split(|c: char| !c.is_alphanumeric()).next()?;
            let number = match name {
                "Normal" => 1000,
                "Away" => 1001,
                "Protocol" => 1002,
                "Unsupported" => 1003,
                "Invalid" => 1007,
                "Policy" => 1008,
                "Size" => 1009,
                "Error" => 1011,
                "Restart" => 1012,
                "Again" => 1013,
                _ => return None,
            };
            Some(number.to_string())
        }));
    }
    codes
}

/// Collects close codes, each with the word of the `kick` before it.
pub fn kicks() -> BTreeSet<(String, String)> {
    let mut kicks = BTreeSet::new();
    for code in sources() {
        for (number, behind) in numbers(&code) {
            let word = behind.strip_prefix(',').map(str::trim_start);
            let word = word.and_then(|word| word.strip_prefix('"')?.split_once('"'));
            if let Some((word, _)) = word
                && !word.contains(' ')
            {
                kicks.insert((number.to_owned(), word.to_owned()));
            }
        }
    }
    assert!(kicks.len() > 4, "{kicks:?} can't be all");
    kicks
}

/// Finds the numbers in the ranges of close codes, each with the text behind it.
fn numbers(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let bytes = code.as_bytes();
    (0..bytes.len().saturating_sub(4)).filter_map(move |at| {
        let begins = at == 0 || !is_word(bytes[at - 1]);
        let (number, behind) = (bytes.get(at..at + 4)?, bytes[at + 4]);
        if !begins || !number.iter().copied().all(is_digit) || is_word(behind) {
            return None;
        }
        let (number, behind) = (&code[at..at + 4], &code[at + 4..]);
        let value: u16 = number.parse().ok()?;
        let is_code = (1000..=1015).contains(&value) || (4000..5000).contains(&value);
        (is_code && !OTHER_NUMBERS.contains(&value)).then_some((number, behind))
    })
}

/// Reads each operation of the description, such as `GET /v1/rooms`, with its statuses. HEAD counts
/// as GET.
pub fn operations() -> BTreeMap<String, Vec<String>> {
    let described = files("json");
    let described = described
        .iter()
        .find(|path| path.ends_with("openapi.json"))
        .expect("there is a description");
    let described = std::fs::read_to_string(described).unwrap();
    let described: Value = serde_json::from_str(&described).unwrap();
    let mut operations = BTreeMap::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else {
                continue;
            };
            if method != "head" {
                let name = format!("{} {path}", method.to_uppercase());
                operations.insert(name, responses.keys().cloned().collect());
            }
        }
    }
    operations
}

/// Tells whether a request such as `GET /v1/rooms/tea?limit=1` belongs to a route. Words without a
/// path are compared as they are.
pub fn is_at(asked: &str, route: &str) -> bool {
    let (Some((method, asked)), Some((of_route, route))) =
        (asked.split_once(' '), route.split_once(' '))
    else {
        return asked == route;
    };
    let (asked, _) = asked.split_once('?').unwrap_or((asked, ""));
    let mut parts = route.split('/');
    method == of_route
        && asked.split('/').all(|part| {
            let of_route = parts.next();
            of_route.is_some_and(|of_route| of_route == part || of_route.starts_with('{'))
        })
        && parts.next().is_none()
}

/// Reads the files of the library and the binary, without their tests and comments.
fn sources() -> Vec<String> {
    // The folder of the whole may have any name.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_test = |path: &PathBuf| {
        let mut names = path.strip_prefix(root).unwrap().iter();
        names.any(|name| name == "tests" || name == "tests.rs")
    };
    let files = files("rs").into_iter().filter(|path| !is_test(path));
    let codes = files.map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or(&text);
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let codes: Vec<String> = codes.collect();
    assert!(codes.len() > 50, "these can't be all");
    codes
}

fn files(extension: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == extension) {
                files.push(path);
            }
        }
    }
    files
}
