//! Reading memories from files: JSON lines, and the conversations of the LoCoMo data set.
//!
//! A [`Reader`] streams: it holds one batch at a time, whatever the file's size. A fault names
//! the file and the line, and comes before anything of its batch is handed out.

mod lines;
pub mod locomo;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use mnemon_core::memories::NewMemory;
use mnemon_core::{Error, Result, Scope, limits};

use lines::Lines;
use locomo::Conversations;

/// One memory read from a file, and the user it belongs to where the file says one.
#[derive(Clone, PartialEq, Debug)]
pub struct Imported {
    /// Whose; `None`: whoever imports.
    pub user: Option<String>,
    /// The memory.
    pub memory: NewMemory,
    /// The line it stands on, where the file has lines.
    pub line: Option<u64>,
}

/// Memories of one user, ready for one `remember_many`.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportBatch {
    /// Whose; `None`: whoever imports.
    pub user: Option<String>,
    /// At most [`limits::REMEMBER_BATCH`] of them.
    pub memories: Vec<NewMemory>,
    /// Where they stand.
    pub places: Places,
}

/// Where the memories of a batch stand in their file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    file: String,
    lines: Vec<Option<u64>>,
}

impl Places {
    /// An error of `remember_many` with the file and line in place of the entry's number:
    /// `memories[3].content` becomes `notes.jsonl:17: content`.
    pub fn locate(&self, error: Error) -> Error {
        let Error::Invalid { field, reason } = error else { return error };
        let entry = field
            .strip_prefix("memories[")
            .and_then(|rest| rest.split_once("]."))
            .and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
        match entry.and_then(|(number, rest)| Some(((*self.lines.get(number)?)?, rest))) {
            Some((line, rest)) => {
                Error::invalid(format!("{}:{line}", self.file), format!("{rest}: {reason}"))
            }
            None => Error::Invalid { field, reason },
        }
    }
}

impl ImportBatch {
    /// The scope to write the batch in: the importer's, as the batch's user.
    pub fn scope(&self, importer: &Scope) -> Scope {
        match &self.user {
            Some(user) => importer.clone().user(user),
            None => importer.clone(),
        }
    }
}

/// What a file turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object per line, each a [`NewMemory`]; `content` is enough.
    JsonLines,
    /// LoCoMo conversations: one memory per utterance, each conversation its own user.
    Locomo,
}

/// Streams batches of memories out of a file.
pub struct Reader {
    name: String,
    source: Source,
    batch: usize,
    waiting: Option<Imported>,
    failed: bool,
}

enum Source {
    Lines(Lines<Box<dyn BufRead + Send>>),
    Locomo(std::vec::IntoIter<Imported>),
}

impl Reader {
    /// Opens a file and finds out what it is: an array of conversations, or JSON lines.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the file that cannot be read, or the line of conversations that
    /// are not as they should be.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|cause| unreadable(&name, &cause))?;
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err(Error::invalid(name, "is a folder, not a file"));
        }
        Self::new(name, file)
    }

    /// Reads from anything; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn new(name: String, from: impl Read + Send + 'static) -> Result<Self> {
        let mut from = BufReader::new(from);
        let file = name.clone();
        let source = if starts_with_bracket(&name, &mut from)? {
            let conversations = Conversations::read(&name, from)?;
            Source::Locomo(conversations.memories()?.into_iter())
        } else {
            Source::Lines(Lines::new(name, Box::new(from)))
        };
        Ok(Self { name: file, source, batch: limits::REMEMBER_BATCH, waiting: None, failed: false })
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        match self.source {
            Source::Lines(_) => Format::JsonLines,
            Source::Locomo(_) => Format::Locomo,
        }
    }

    /// How many memories are still to come, where that is known.
    pub fn remaining(&self) -> Option<usize> {
        match &self.source {
            Source::Lines(_) => None,
            Source::Locomo(rest) => Some(rest.len() + usize::from(self.waiting.is_some())),
        }
    }

    fn next_one(&mut self) -> Result<Option<Imported>> {
        if let Some(one) = self.waiting.take() {
            return Ok(Some(one));
        }
        match &mut self.source {
            Source::Lines(lines) => lines.next_memory(),
            Source::Locomo(rest) => Ok(rest.next()),
        }
    }

    fn next_batch(&mut self) -> Result<Option<ImportBatch>> {
        let Some(first) = self.next_one()? else { return Ok(None) };
        let mut batch = ImportBatch {
            user: first.user,
            memories: vec![first.memory],
            places: Places { file: self.name.clone(), lines: vec![first.line] },
        };
        while batch.memories.len() < self.batch {
            let Some(one) = self.next_one()? else { break };
            if one.user != batch.user {
                self.waiting = Some(one);
                break;
            }
            batch.memories.push(one.memory);
            batch.places.lines.push(one.line);
        }
        Ok(Some(batch))
    }
}

impl Iterator for Reader {
    type Item = Result<ImportBatch>;

    /// The next batch. After an error nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Looks at the first character that is no blank, and leaves it there.
fn starts_with_bracket(name: &str, from: &mut impl BufRead) -> Result<bool> {
    let buffer = from.fill_buf().map_err(|cause| unreadable(name, &cause))?;
    Ok(buffer.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
}

fn unreadable(name: &str, cause: &std::io::Error) -> Error {
    Error::invalid(name.to_owned(), format!("cannot be read: {cause}"))
}

/// What serde says, with the column but without its line, which the error's place names.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: String) -> Vec<Result<ImportBatch>> {
        let from = std::io::Cursor::new(text.into_bytes());
        Reader::new("m.jsonl".to_owned(), from).unwrap().collect()
    }

    fn lines(count: usize) -> String {
        (0..count).map(|n| format!("{{\"content\": \"{n}\"}}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_comes_in_batches_within_the_limit() {
        let batches = read(lines(limits::REMEMBER_BATCH + 1));

        let sizes: Vec<usize> =
            batches.iter().map(|batch| batch.as_ref().unwrap().memories.len()).collect();
        assert_eq!(sizes, [limits::REMEMBER_BATCH, 1]);
        assert!(read(String::new()).is_empty());
    }

    #[test]
    fn after_a_fault_nothing_more_comes() {
        let batches = read(format!("{}\nno json\n{}", lines(3), lines(3)));

        assert_eq!(batches.len(), 1, "the batch with the fault is not handed out");
        let message = batches[0].as_ref().unwrap_err().to_string();
        assert!(message.starts_with("m.jsonl:4: "), "{message}");
    }

    #[test]
    fn an_entry_of_a_batch_is_found_back_in_its_file() {
        let batch = read(format!("\n{}", lines(2))).pop().unwrap().unwrap();
        let places = &batch.places;

        let located = places.locate(Error::invalid("memories[1].tags", "is wrong")).to_string();
        let other = places.locate(Error::invalid("memories[7].tags", "is wrong")).to_string();

        assert_eq!(located, "m.jsonl:3: tags: is wrong");
        assert_eq!(other, "memories[7].tags: is wrong");
    }

    #[test]
    fn conversations_come_one_user_a_batch() {
        let sample = |name: &str| {
            format!(
                r#"{{"sample_id": "{name}", "qa": [], "sessions": [{{"session": 1, "turns":
                [{{"speaker": "A", "dia_id": "D1:1", "text": "x"}}]}}]}}"#
            )
        };
        let text = format!("\n[{}, {}]", sample("a"), sample("b"));
        let reader = Reader::new("c".to_owned(), std::io::Cursor::new(text)).unwrap();

        assert_eq!((reader.format(), reader.remaining()), (Format::Locomo, Some(2)));
        let users: Vec<_> = reader.map(|batch| batch.unwrap().user.unwrap()).collect();
        assert_eq!(users, ["a", "b"]);
    }
}
