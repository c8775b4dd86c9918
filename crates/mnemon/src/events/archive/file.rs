//! The file of a month: JSON lines, compressed by zstd. The first line says what it is, then comes
//! an event a line, and the last line how many there are and the hash of all lines before it: a
//! file without it is not whole.
//!
//! It is written under another name, made durable, renamed, and its folder made durable.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use mnemon_core::events::{Archived as Line, Extent, Month};
use mnemon_core::{Error, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the first line says.
const KIND: &str = "mnemon event archive";
/// The form of what follows it.
const FORMAT: u32 = 1;
/// zstd's own default: three times smaller for a tenth of the time that writing takes.
const LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    kind: String,
    format: u32,
    log: Uuid,
    month: Month,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: Extent,
    blake3: String,
}

/// Where the archive of a month goes.
pub(super) enum Place {
    /// It is there already, whole, and holds just what the month holds.
    Whole(PathBuf),
    /// Nothing has this name.
    Free(PathBuf),
}

/// Looks for the archive of a month, or for a name that is free: no whole file is written over.
pub(super) fn place(folder: &Path, log: Uuid, month: Month, extent: Extent) -> Result<Place> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    for n in 1..1_000 {
        let name = match n {
            1 => format!("events-{month}.jsonl.zst"),
            n => format!("events-{month}.{n}.jsonl.zst"),
        };
        let path = folder.join(name);
        if !path.try_exists().map_err(|error| failed(&path, &error))? {
            return Ok(Place::Free(path));
        }
        let same = |reader: &Reader| reader.head.log == log && reader.head.month == month;
        if let Ok(mut reader) = Reader::open(&path)
            && same(&reader)
        {
            while matches!(reader.next(1_000), Ok(events) if !events.is_empty()) {}
            if reader.end.as_ref().is_some_and(|end| end.end == extent) {
                return Ok(Place::Whole(path));
            }
        }
    }
    let name = folder.display();
    Err(Error::setup(format!("{name} holds a thousand archives of {month}"), "use another folder"))
}

pub(super) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(|error| failed(path, &error))?.len())
}

/// What the disk said.
fn failed(path: &Path, error: &io::Error) -> Error {
    let problem = format!("{}: {error}", path.display());
    let fix = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and archive again: what is not archived is still in the log"
        }
        _ => "name a folder that can be written, and archive again",
    };
    Error::setup(problem, fix)
}

/// A file that is being written.
pub(super) struct Writer {
    path: PathBuf,
    part: PathBuf,
    zstd: Option<zstd::Encoder<'static, File>>,
    hash: blake3::Hasher,
    events: u64,
}

impl Writer {
    pub(super) fn create(path: &Path, log: Uuid, month: Month) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let begun = File::create(&part).and_then(|file| {
            let mut zstd = zstd::Encoder::new(file, LEVEL)?;
            zstd.include_checksum(true)?;
            Ok(zstd)
        });
        let zstd = begun.map_err(|error| failed(&part, &error))?;
        let path = path.to_owned();
        let mut writer =
            Self { path, part, zstd: Some(zstd), hash: blake3::Hasher::new(), events: 0 };
        writer.line(&Head { kind: KIND.to_owned(), format: FORMAT, log, month })?;
        Ok(writer)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| Error::backend("writing an archive", error))?;
        line.push(b'\n');
        self.hash.update(&line);
        let zstd = self.zstd.as_mut().expect("taken when it is finished");
        zstd.write_all(&line).map_err(|error| failed(&self.part, &error))
    }

    pub(super) fn with(mut self, events: &[Line]) -> Result<Self> {
        for event in events {
            self.line(event)?;
        }
        self.events += events.len() as u64;
        Ok(self)
    }

    /// Ends the file, makes it durable and gives it its name.
    pub(super) fn finish(mut self, extent: Extent) -> Result<()> {
        if self.events != extent.events {
            return Err(Error::Conflict {
                kind: "month of the event log",
                key: self.path.display().to_string(),
                expected: i64::try_from(extent.events).ok(),
                actual: i64::try_from(self.events).ok(),
            });
        }
        let blake3 = self.hash.finalize().to_hex().to_string();
        self.line(&End { end: extent, blake3 })?;
        let zstd = self.zstd.take().expect("taken once");
        let durable = zstd
            .finish()
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.part, &self.path))
            .and_then(|()| sync_folder(&self.path));
        durable.map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for Writer {
    /// What was not finished is of no use.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.part);
    }
}

/// Makes a new name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        // Other systems keep names without being asked, and cannot open a folder.
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// A file that is being read.
pub(super) struct Reader {
    path: PathBuf,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    hash: blake3::Hasher,
    events: u64,
    head: Head,
    end: Option<End>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let opened = File::open(path).and_then(zstd::Decoder::new);
        let mut lines = BufReader::new(opened.map_err(|error| {
            let problem = format!("{}: {error}", path.display());
            Error::setup(problem, "name a file that `mnemon events archive` wrote")
        })?);
        let mut line = String::new();
        lines.read_line(&mut line).map_err(|error| broken(path, &error.to_string()))?;
        let head: Head = serde_json::from_str(&line)
            .map_err(|_| broken(path, "it does not begin like an archive of events"))?;
        if head.kind != KIND || head.format != FORMAT {
            return Err(broken(path, "it is of a form that this version does not know"));
        }
        let mut hash = blake3::Hasher::new();
        hash.update(line.as_bytes());
        Ok(Self { path: path.to_owned(), lines, hash, events: 0, head, end: None })
    }

    /// The log it came from.
    pub(super) fn log(&self) -> Uuid {
        self.head.log
    }

    /// The next events; none when its end was read and everything before it was as it was written.
    pub(super) fn next(&mut self, most: usize) -> Result<Vec<Line>> {
        let mut events = Vec::new();
        let mut line = String::new();
        while self.end.is_none() && events.len() < most {
            line.clear();
            let read = self.lines.read_line(&mut line);
            if read.map_err(|error| broken(&self.path, &error.to_string()))? == 0 {
                return Err(broken(&self.path, "its end is missing"));
            }
            if let Ok(event) = serde_json::from_str::<Line>(&line) {
                self.hash.update(line.as_bytes());
                self.events += 1;
                events.push(event);
                continue;
            }
            let end: End = serde_json::from_str(&line)
                .map_err(|_| broken(&self.path, "a line is neither an event nor its end"))?;
            let whole = end.end.events == self.events
                && end.blake3 == self.hash.finalize().to_hex().as_str();
            if !whole {
                return Err(broken(&self.path, "it is not what was written"));
            }
            self.end_of_file()?;
            self.end = Some(end);
        }
        Ok(events)
    }

    /// Nothing may follow the end, and nothing of the file may be missing behind it.
    fn end_of_file(&mut self) -> Result<()> {
        match self.lines.read_line(&mut String::new()) {
            Ok(0) => Ok(()),
            Ok(_) => Err(broken(&self.path, "it goes on after its end")),
            Err(error) => Err(broken(&self.path, &error.to_string())),
        }
    }
}

fn broken(path: &Path, reason: &str) -> Error {
    Error::corrupt(path.display().to_string(), reason)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use mnemon_core::EventId;
    use serde_json::json;

    use super::*;

    fn event(version: i64) -> Line {
        let at: DateTime<Utc> = DateTime::from_timestamp(1_767_300_000, 0).unwrap();
        Line {
            tenant: "acme".into(),
            stream: "s".into(),
            version,
            id: EventId(Uuid::from_u128(7)),
            kind: "a.b".into(),
            correlation_id: None,
            agent: Some("iris".into()),
            user: None,
            session: None,
            run: None,
            occurred_at: at,
            recorded_at: at,
            epoch: 1,
            tx: 9,
            data: json!({ "n": version, "text": "\u{1f600}\n" }),
        }
    }

    fn month() -> Month {
        "2026-01".parse().unwrap()
    }

    const EXTENT: Extent = Extent { events: 2, newest: 9 };

    fn written(folder: &Path) -> PathBuf {
        let Place::Free(path) = place(folder, Uuid::nil(), month(), EXTENT).unwrap() else {
            panic!("nothing is there yet")
        };
        let writer = Writer::create(&path, Uuid::nil(), month()).unwrap();
        writer.with(&[event(1), event(2)]).unwrap().finish(EXTENT).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());

        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next(1).unwrap(), [event(1)]);
        assert_eq!(reader.next(9).unwrap(), [event(2)]);
        assert!(reader.next(9).unwrap().is_empty());
        assert!(matches!(
            place(folder.path(), Uuid::nil(), month(), EXTENT).unwrap(),
            Place::Whole(found) if found == path
        ));
        // A month that holds something else gets a file of its own.
        let other = Extent { events: 3, ..EXTENT };
        let free = place(folder.path(), Uuid::nil(), month(), other).unwrap();
        assert!(matches!(free, Place::Free(path) if path.ends_with("events-2026-01.2.jsonl.zst")));
    }

    #[test]
    fn a_file_cut_anywhere_or_changed_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let bytes = fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut reader = Reader::open(&path)?;
            while !reader.next(1)?.is_empty() {}
            Ok::<(), Error>(())
        };

        assert!(read(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert!(matches!(read(&bytes[..end]), Err(Error::Corrupt { .. })), "cut at {end}");
        }
        let lines = zstd::decode_all(&bytes[..]).unwrap();
        let changed = String::from_utf8(lines).unwrap().replacen("iris", "rose", 1);
        let changed = zstd::encode_all(changed.as_bytes(), 1).unwrap();
        assert!(matches!(read(&changed), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.zst");
        let writer =
            Writer::create(&path, Uuid::nil(), month()).unwrap().with(&[event(1)]).unwrap();

        assert!(matches!(writer.finish(EXTENT), Err(Error::Conflict { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
