//! Lists in pages: the flags, and how a page is printed.

use std::io;

use clap::Args;
use mnemon::{Cursor, Page, Paged};
use serde::Serialize;

use super::show;
use crate::output::Output;

/// Which part of a list.
#[derive(Args)]
pub(crate) struct PageArgs {
    /// Rows wanted, 1 to 500
    #[arg(long, short = 'n', default_value_t = mnemon::core::limits::PAGE_DEFAULT)]
    limit: u32,
    /// Where the last page ended, as it said
    #[arg(long)]
    cursor: Option<Cursor>,
}

impl PageArgs {
    pub(super) fn page(&self) -> Page {
        Page { limit: self.limit, cursor: self.cursor.clone() }
    }
}

/// A page as JSON, or as a table that says how to go on.
pub(super) fn print<T: Serialize, const N: usize>(
    output: &Output,
    found: &Paged<T>,
    header: &[&str; N],
    row: impl Fn(&T) -> [String; N],
) -> io::Result<()> {
    if output.json {
        return output.json(found);
    }
    if found.items.is_empty() {
        return output.line("nothing here");
    }
    let mut table = show::table(header);
    for item in &found.items {
        table.add_row(row(item));
    }
    output.line(table.to_string())?;
    if let Some(next) = &found.next {
        output.line(format!("more: --cursor {next}"))?;
    }
    Ok(())
}
