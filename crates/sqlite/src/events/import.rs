//! Events recorded elsewhere, with the times they had.

use mnemon_core::events::{Appended, Import, Known, place};
use mnemon_core::scope::Admitted;
use rusqlite::Connection;

use super::append::{self, Head};
use crate::error::Done;
use crate::memories::rows;
use crate::open::now;

/// Writes what is not there yet.
pub(super) fn import(conn: &Connection, scope: &Admitted<'_>, import: &Import) -> Done<Appended> {
    let (given, times) = import.clone().into_append();
    let head = Head::read(conn, scope, &given.stream)?;
    let known = append::known(conn, scope, &given)?;
    let placed = place(&given, head.version, &known)?;
    let fresh = |known: &Option<Known>| known.is_none();
    if !known.iter().any(fresh) {
        return Ok(placed);
    }
    let new = import.events.iter().zip(&known).filter(|(_, known)| known.is_none());
    let new = Import {
        stream: given.stream.clone(),
        events: new.map(|(imported, _)| imported.clone()).collect(),
    };
    let last = (head.version > 0).then(|| rows::time(head.recorded_at)).transpose()?;
    new.check_times(last, rows::time(now(conn)?)?)?;
    let newest = new
        .events
        .last()
        .map_or(head.recorded_at, |imported| imported.recorded_at.timestamp_micros());
    head.move_to(conn, scope, &given.stream, placed.stream_version, newest)?;
    for (at, version) in placed.versions.iter().enumerate() {
        if known[at].is_none() {
            let recorded_at = times[at].timestamp_micros();
            append::insert(conn, scope, &given.stream, &given.events[at], *version, recorded_at)?;
        }
    }
    Ok(placed)
}
