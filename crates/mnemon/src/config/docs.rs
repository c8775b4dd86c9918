//! The documentation of the keys, made from their table.

use std::fmt::Write as _;

use super::keys::{KEYS, SECTIONS};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from crates/mnemon/src/config/keys.rs. To regenerate:
     MNEMON_REGENERATE=1 cargo test -p mnemon --test docs -->

Nothing needs to be configured: without a word Mnemon keeps one SQLite file in the platform's data
folder (`~/.local/share/mnemon/mnemon.db` on Linux) and answers as tenant `local`.

What is set in code (or by a flag) wins over the environment, the environment over the file, the
file over the default. The file is the first there is of

1. the one `--config FILE` (or code) names,
2. the one `MNEMON_CONFIG` names,
3. `./mnemon.toml`,
4. `mnemon/mnemon.toml` in the platform's config folder (`~/.config` on Linux).

Unknown sections, keys and values are refused, with the file's name and line and the list of known
ones. Durations are a whole number and a unit: `500ms`, `30s`, `10min`, `1h`, `7d`. Lists are
joined by commas in the environment. An empty environment variable counts as not set.
`mnemon config` prints what is in effect, without passwords.

";

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (section, about) in SECTIONS {
        let _ = writeln!(page, "## `[{section}]`\n\n{about}\n");
        let mut keys = KEYS.iter().filter(|key| key.section == *section).peekable();
        if keys.peek().is_none() {
            continue;
        }
        page.push_str("| key | takes | default | environment | meaning |\n|---|---|---|---|---|\n");
        for key in keys {
            let default =
                key.default().map_or_else(|| key.unset.to_owned(), |value| format!("`{value}`"));
            let _ = writeln!(
                page,
                "| `{}` | {} | {default} | `{}` | {} |",
                key.name,
                key.kind.describe(),
                key.env(),
                key.meaning
            );
        }
        page.push('\n');
    }
    page.push_str(COMMAND_LINE);
    page
}

const COMMAND_LINE: &str = "\
## What a URL may say besides

An embedded store takes `sqlite://PATH?key=value&…`: `synchronous` (`full`, the default: what is
acknowledged survives a power cut; `normal`: it survives the process), `readers` (threads that
read, 1 to 64; 4) and `vector_mb` (memory that vectors may take, in MiB, 0 for none; 256). Three
slashes begin an absolute path, `%XX` stands for a byte of it. A URL of PostgreSQL takes libpq's keys; [the setup guide](setup.md) says which. Unknown keys are
refused with the list of known ones.

## Who is asking, on the command line

| flag | environment | meaning |
|---|---|---|
| `--tenant` | `MNEMON_TENANT` | whose installation; an embedded store has `local` without a word |
| `--user` | `MNEMON_USER` | the person |
| `--agent` | `MNEMON_AGENT` | the agent that acts |
| `--session` | `MNEMON_SESSION` | the conversation |
| `--run` | `MNEMON_RUN` | the run |
| `--group` | `MNEMON_GROUPS` | groups of the caller, joined by commas in the environment |
";
