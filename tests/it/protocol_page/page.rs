//! The page as a test reads it: comments that set the stage, conversations, exchanges, tables.

use std::collections::BTreeSet;
use std::path::Path;

const PATH: &str = "docs/protocol.md";

/// The whole page.
pub struct Page {
    text: String,
    pub items: Vec<Item>,
}

/// One thing to do, with the line on which it begins.
pub struct Item {
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    /// `<!-- word: rest -->`
    Stage { word: String, rest: String },
    /// A `ws` block.
    Talk(Vec<Line>),
    /// An `http` block.
    Exchange(Vec<String>),
}

/// A line of a conversation.
pub struct Line {
    pub number: usize,
    /// The client whose connection it is, where the line names one.
    pub who: Option<String>,
    pub from: Side,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// A row of a table.
pub struct Row {
    pub line: usize,
    pub cells: Vec<String>,
}

impl Page {
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let items = items(&text);
        Self { text, items }
    }

    /// Counts the blocks, in another way than they are read.
    pub fn fences(&self) -> usize {
        let fences = self.text.lines().filter(|line| line.contains("```"));
        let count = fences.count();
        assert_eq!(count % 2, 0, "a block of {PATH} doesn't end");
        count / 2
    }

    /// Reads the rows below `<!-- table: name -->`, without the head.
    pub fn table(&self, name: &str) -> Vec<Row> {
        let mark = format!("<!-- table: {name} -->");
        let mut lines = self.text.lines().zip(1..);
        lines
            .find(|(line, _)| *line == mark)
            .unwrap_or_else(|| panic!("{PATH} has no {mark}"));
        let rows: Vec<Row> = lines
            .skip_while(|(line, _)| line.is_empty())
            .take_while(|(line, _)| line.starts_with('|'))
            .skip(2)
            .map(|(line, number)| Row {
                line: number,
                cells: cells(line),
            })
            .collect();
        assert!(!rows.is_empty(), "{mark} of {PATH} has no rows");
        rows
    }

    /// Reads the words in the first column of a table: those in backquotes, or the whole cell.
    pub fn words(&self, table: &str) -> BTreeSet<String> {
        let rows = self.table(table);
        let words = rows.iter().flat_map(|row| quoted(&row.cells[0]));
        words.collect()
    }
}

impl Row {
    pub fn first_word(&self) -> String {
        quoted(&self.cells[0]).remove(0)
    }

    /// Tells whether a word stands in this row, in backquotes.
    pub fn names(&self, word: &str) -> bool {
        let all = self.cells.iter().flat_map(|cell| quoted(cell));
        all.into_iter().any(|quoted| quoted == word)
    }
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner.split('|').map(|cell| cell.trim().into()).collect()
}

/// Finds the words in backquotes; without any, the text itself is the word.
fn quoted(cell: &str) -> Vec<String> {
    let quoted: Vec<String> = cell.split('`').skip(1).step_by(2).map(Into::into).collect();
    match quoted.is_empty() {
        true => vec![cell.to_owned()],
        false => quoted,
    }
}

fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        assert!(
            !line.contains("`{\"type\""),
            "line {number} of {PATH}: a frame stands in a block, where it is run"
        );
        if let Some(comment) = line.strip_prefix("<!-- ") {
            let inner = comment.strip_suffix(" -->");
            let inner = inner.unwrap_or_else(|| panic!("line {number}: a comment of one line"));
            let (word, rest) = inner.split_once(':').unwrap_or((inner, ""));
            let (word, rest) = (word.into(), rest.trim().into());
            let kind = Kind::Stage { word, rest };
            items.push(Item { line: number, kind });
        } else if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<_> = lines
                .by_ref()
                .take_while(|(line, _)| *line != "```")
                .collect();
            let kind = match kind {
                "ws" => Kind::Talk(block.into_iter().map(talk).collect()),
                "http" => Kind::Exchange(block.iter().map(|(line, _)| (*line).into()).collect()),
                other => panic!("line {number} of {PATH}: a block of {other:?} isn't run"),
            };
            items.push(Item { line: number, kind });
        }
    }
    items
}

fn talk((line, number): (&str, usize)) -> Line {
    let (who, rest) = match line.split_once(' ') {
        Some((name, rest)) if !matches!(name, "<" | ">") => (Some(name.to_owned()), rest),
        _ => (None, line),
    };
    let (from, text) = match rest.split_once(' ') {
        Some((">", text)) => (Side::Client, text),
        Some(("<", text)) => (Side::Server, text),
        _ => panic!("line {number} of {PATH} says neither > nor <: {line}"),
    };
    let text = text.to_owned();
    Line {
        number,
        who,
        from,
        text,
    }
}
