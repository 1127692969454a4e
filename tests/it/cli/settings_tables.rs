//! The tables of settings in the README: each name in them is there, with the default that stands
//! beside it, and no bound of a server is left out.

use std::collections::BTreeMap;
use std::process::Command;

use tidings::server::ServerSettings;
use tidings::store::StoreSettings;

/// Numbers of settings, by their full names.
type Numbers = BTreeMap<String, u64>;

/// One line of a table.
struct Row {
    /// The names with what stands before their last dot, which a table says once a line.
    names: Vec<String>,
    defaults: Vec<String>,
}

/// Stands for what is off.
const OFF: u64 = u64::MAX;

/// The numbers in the pretty `Debug` text of a struct, by the paths of their fields.
fn fields(debug: &str) -> Numbers {
    let (mut path, mut numbers) = (Vec::new(), Numbers::new());
    for line in debug.lines().skip(1) {
        match line.trim().trim_end_matches(',').split_once(": ") {
            Some((field, value)) => {
                path.push(field);
                if !value.ends_with('{') {
                    let number = match value {
                        "false" => Some(OFF),
                        // A list or a word has no place in the tables.
                        value => value.parse().ok(),
                    };
                    if let Some(number) = number {
                        numbers.insert(path.join("."), number);
                    }
                    path.pop();
                }
            }
            None => _ = path.pop(),
        }
    }
    numbers
}

/// The numbers in the file that `tidings init` writes, by section and key.
fn keys(file: &str) -> Numbers {
    let (mut section, mut numbers) = ("", Numbers::new());
    for line in file.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.trim_start_matches('#').split_once(" = ")
            && let Ok(number) = value.replace('_', "").parse()
        {
            numbers.insert(format!("{section}.{key}"), number);
        }
    }
    numbers
}

/// The settings by what puts them into force in the words of the README, by the file that `tidings init`
/// writes; those of a named entry by the name of their table.
fn in_force_after(file: &str) -> BTreeMap<String, String> {
    let (mut section, mut by) = ("", "");
    let mut settings = BTreeMap::new();
    for line in file.lines() {
        let text = line.trim_start_matches('#');
        if let Some(after) = text.strip_prefix(" A change is in force after ") {
            by = after.trim_end_matches('.');
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = text.split_once(" = ")
            && !key.contains(' ')
        {
            let named = ["tokens.keys", "api_keys"];
            let table = named.into_iter().find(|table| section.starts_with(table));
            let name = format!("{section}.{key}");
            let name = table.unwrap_or(name.trim_start_matches('.'));
            settings.insert(name.to_owned(), by.to_owned());
        }
    }
    settings
}

/// The rows of the table of the README with this head: the settings that each names, and its last cell.
fn rows_of(head: &str) -> Vec<(Row, &'static str)> {
    let readme = include_str!("../../../README.md");
    let (_, table) = readme
        .split_once(&format!("\n{head}\n"))
        .expect("the table");
    let lines = table.lines().skip(1);
    let rows = lines.map_while(|line| line.strip_prefix("| "));
    let last = |line: &'static str| line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    rows.map(|line| (row(line), last(line))).collect()
}

/// The bounds of a store that have no key.
fn of_store() -> Numbers {
    let store = StoreSettings::new("nowhere");
    let bounds = [
        ("dedup_entries_max", store.dedup_entries_max),
        ("acks_per_channel_max", store.acks_per_channel_max),
        ("members_max", store.members_max),
        ("producers_max", store.producers_max),
    ];
    let named = |(name, bound)| (format!("StoreSettings::{name}"), bound as u64);
    bounds.map(named).into()
}

/// The rows of the table whose first column has this title.
fn table(title: &str) -> Vec<Row> {
    let readme = include_str!("../../../README.md");
    let (_, table) = readme
        .split_once(&format!("\n| {title} | default | over it |\n"))
        .unwrap_or_else(|| panic!("no table of {title}s"));
    let lines = table.lines().skip(1);
    let rows = lines.map_while(|line| line.strip_prefix("| ")).map(row);
    rows.collect()
}

fn row(line: &str) -> Row {
    let mut cells = line.split(" | ");
    let (names, defaults) = (cells.next().unwrap(), cells.next().unwrap());
    let mut prefix = "";
    let names = names.split('`').skip(1).step_by(2).map(|name| {
        let last = name.rfind(['.', ':']).map_or(0, |end| end + 1);
        if last > 0 {
            prefix = &name[..last];
        }
        format!("{prefix}{}", &name[last..])
    });
    let defaults = defaults.split(", ").flat_map(|part| part.split(" or "));
    Row {
        names: names.collect(),
        defaults: defaults.map(str::to_owned).collect(),
    }
}

/// What a setting's own name and those of its fields lead to, but for the levels of a queue at
/// which reading begins again.
fn found<'a>(name: &str, numbers: &'a Numbers) -> Vec<(&'a str, u64)> {
    let within = format!("{name}.");
    let found = numbers
        .iter()
        .filter(|(path, _)| *path == name || path.starts_with(&within))
        .filter(|(path, _)| !path.ends_with("_low"));
    found.map(|(path, number)| (&**path, *number)).collect()
}

/// A number as the README writes it, by the unit in its name.
fn shown(path: &str, number: u64) -> String {
    let name = path.rsplit(['.', ':']).next().unwrap();
    let has = |unit| name.split('_').any(|word| word == unit);
    if number == OFF {
        "off".into()
    } else if has("percent") {
        format!("{number} %")
    } else if has("us") || has("ms") {
        time(number * if has("us") { 1 } else { 1_000 })
    } else if has("bytes") || has("size") {
        let (unit, name) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(unit, _)| number.is_multiple_of(*unit))
            .unwrap_or((1, "bytes"));
        format!("{} {name}", number / unit)
    } else if name.ends_with("_per_s_max") && number == 0 {
        "no limit".into()
    } else {
        grouped(number)
    }
}

fn time(us: u64) -> String {
    if us == 0 {
        return "0 s".into();
    }
    let (unit, name) = [(86_400_000_000, "days"), (1_000_000, "s"), (1_000, "ms")]
        .into_iter()
        .find(|(unit, _)| us.is_multiple_of(*unit))
        .unwrap_or((1, "µs"));
    format!("{} {name}", us / unit)
}

/// A number with a comma between each three digits.
fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

fn check(rows: &[Row], numbers: &Numbers) {
    for Row { names, defaults } in rows {
        let mut expected = Vec::new();
        for name in names {
            let found = found(name, numbers);
            assert!(!found.is_empty(), "there is no setting {name}");
            expected.extend(found.iter().map(|(path, number)| shown(path, *number)));
        }
        let is_right = |(default, expected): (&String, &String)| {
            let rest = default.strip_prefix(&**expected);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let are_right =
            defaults.len() == expected.len() && defaults.iter().zip(&expected).all(is_right);
        assert!(are_right, "{names:?}: {defaults:?} should be {expected:?}");
    }
}

#[test]
fn the_readme_has_every_setting_of_a_server_with_its_default() {
    let numbers = fields(&format!("{:#?}", ServerSettings::default()));
    let rows = table("field");
    check(&rows, &numbers);
    let named: Vec<&str> = rows
        .iter()
        .flat_map(|row| &row.names)
        .flat_map(|name| found(name, &numbers))
        .map(|(path, _)| path)
        .collect();
    let missing: Vec<&String> = numbers
        .keys()
        .filter(|path| !path.ends_with("_low") && !named.contains(&&***path))
        .collect();
    assert!(missing.is_empty(), "the README leaves out {missing:?}");
}

/// The file that `tidings init` writes.
fn file_of_init() -> String {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .current_dir(folder.path())
        .env_clear()
        .arg("init")
        .output()
        .expect("tidings runs")
        .status;
    assert!(status.success());
    std::fs::read_to_string(folder.path().join("tidings.toml")).unwrap()
}

#[test]
fn the_readme_says_of_each_setting_what_puts_it_into_force() {
    let settings = in_force_after(&file_of_init());
    let mut named = BTreeMap::new();
    for (Row { names, .. }, by) in rows_of("| takes more than a reload | |") {
        named.extend(names.into_iter().map(|name| (name, by.to_owned())));
    }
    let reload = "`tidings reload`".to_owned();
    for (Row { names, .. }, _) in rows_of("| in force after a reload | |") {
        for name in names {
            let Some(table) = name.strip_suffix('*') else {
                named.insert(name, reload.clone());
                continue;
            };
            let all = settings.iter().filter(|(name, by)| {
                name.strip_prefix(table)
                    .is_some_and(|key| !key.contains('.'))
                    && **by == reload
            });
            let all: Vec<_> = all.map(|(name, by)| (name.clone(), by.clone())).collect();
            assert!(!all.is_empty(), "nothing in {name}");
            named.extend(all);
        }
    }
    assert_eq!(named, settings);
}

#[test]
fn the_readme_gives_keys_of_the_program_the_defaults_that_init_writes() {
    let file = file_of_init();
    let mut numbers = keys(&file);
    numbers.extend(of_store());
    let rows = table("key");
    assert!(rows.len() > 10, "the table has {} rows", rows.len());
    check(&rows, &numbers);
}
