//! How a test server is configured.

use crate::cluster::ARCHIVE;

/// Whether a server's answers survive a crash of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `fsync` off: quick, safe against killed processes but not against a power cut. For tests.
    #[default]
    Fast,
    /// PostgreSQL's defaults. For benches: a figure without durability means nothing.
    Durable,
}

/// Settings of a server of one's own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Fast for tests, durable for benches.
    pub durability: Durability,
    /// Further lines of `postgresql.conf`, name and value; the last one wins.
    pub extra: Vec<(String, String)>,
}

impl Settings {
    /// PostgreSQL's own durability, for benches.
    pub fn durable() -> Self {
        Self { durability: Durability::Durable, extra: Vec::new() }
    }

    /// For tests of backups: finished segments of the write-ahead log are copied into a folder of the server's.
    pub fn archiving() -> Self {
        // Commands run in the data folder.
        let copy = format!("test ! -f ../{ARCHIVE}/%f && cp %p ../{ARCHIVE}/%f");
        Self::default().with("archive_mode", "on").with("archive_command", &copy)
    }

    /// Adds one setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All settings in the order in which they are written.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            // Many test processes, each with a pool; all are superusers, so no slot is reserved for one.
            ("max_connections", "400"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            // Segments as files in the data folder: a killed server leaves nothing in /dev/shm.
            ("dynamic_shared_memory_type", "mmap"),
            ("listen_addresses", "127.0.0.1"),
            ("logging_collector", "off"),
        ];
        if self.durability == Durability::Fast {
            pairs.extend([("fsync", "off"), ("full_page_writes", "off")]);
        }
        let mut pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        pairs.extend(self.extra.iter().cloned());
        pairs
    }

    /// The text appended to `postgresql.conf`.
    pub(crate) fn conf(&self) -> String {
        let line =
            |(name, value): &(String, String)| format!("{name} = '{}'", value.replace('\'', "''"));
        self.pairs().iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
