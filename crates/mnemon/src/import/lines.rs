//! JSON lines: one memory per line, blank lines skipped, every fault with its line.

use std::io::BufRead;

use mnemon_core::memories::NewMemory;
use mnemon_core::{Error, Result, limits};

use super::{Imported, plain, unreadable};

/// The longest line, in bytes: every field of a memory at its limit, with room for escapes.
const LINE_BYTES: u64 = 8 * 1024 * 1024;

pub(super) struct Lines<R> {
    name: String,
    from: R,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(name: String, from: R) -> Self {
        Self { name, from, line: 0 }
    }

    pub(super) fn next_memory(&mut self) -> Result<Option<Imported>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            if !line.trim().is_empty() {
                return self.parse(&line).map(Some);
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = std::io::Read::take(&mut self.from, LINE_BYTES + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|cause| unreadable(&self.name, &cause))?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 > LINE_BYTES {
            return Err(self.refuse(format!("is over {LINE_BYTES} bytes, the limit of a line")));
        }
        match String::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to() + 1;
                Err(self.refuse(format!("is not UTF-8 at byte {at}")))
            }
        }
    }

    fn parse(&self, line: &str) -> Result<Imported> {
        let memory: NewMemory =
            serde_json::from_str(line).map_err(|error| self.refuse(plain(&error)))?;
        limits::name("content", &memory.content, limits::MEMORY_CONTENT_BYTES)
            .map_err(|error| self.refuse(error.to_string()))?;
        Ok(Imported { user: None, memory, line: Some(self.line) })
    }

    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::invalid(format!("{}:{}", self.name, self.line), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Imported>> {
        let mut lines = Lines::new("m.jsonl".to_owned(), text);
        std::iter::from_fn(|| lines.next_memory().transpose()).collect()
    }

    #[test]
    fn blank_lines_are_skipped_and_the_last_needs_no_end() {
        let found =
            all(b"{\"content\": \"a\"}\n\r\n{\"content\": \"b\", \"tags\": [\"t\"]}").unwrap();

        assert_eq!(found.len(), 2);
        assert_eq!(found[1].memory.tags, ["t"]);
    }

    #[test]
    fn every_fault_names_the_file_and_the_line() {
        for (text, message) in [
            (&b"\n{\"content\": }"[..], "m.jsonl:2: expected value (column 13)"),
            (b"{\"content\": \"\xff\"}", "m.jsonl:1: is not UTF-8 at byte 14"),
            (b"{\"content\": \" \"}", "m.jsonl:1: content: is blank"),
            (b"{}", "m.jsonl:1: content: is blank"),
        ] {
            assert_eq!(all(text).unwrap_err().to_string(), message);
        }
        let unknown = all(b"{\"contents\": \"a\"}").unwrap_err().to_string();
        assert!(unknown.starts_with("m.jsonl:1: unknown field `contents`, expected"), "{unknown}");
    }
}
