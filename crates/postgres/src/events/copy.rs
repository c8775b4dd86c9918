//! Many events at once: from some 50,000 in one commit COPY is the faster way in. Row-level
//! security does not allow it; the text form needs no knowledge of how types look on the wire.

use std::fmt::Write as _;

use mnemon_core::events::NewEvent;
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use crate::error::Fault;

/// The statement; its columns are those of [`line`].
const COPY: &str = "copy mnemon.events (tenant, stream, version, id, kind, correlation_id, \
    agent_id, user_id, session_id, run_id, data, occurred_at, recorded_at, tx, epoch) from stdin";
/// Bytes that are gathered before they are sent.
const CHUNK: usize = 256 * 1024;

/// Moves the head and writes the events behind it, inside the caller's transaction.
pub(super) async fn copy(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    events: &[(&NewEvent, Uuid)],
) -> Result<(), Fault> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let head = query!(
        r#"
        update mnemon.event_streams h
        set version = h.version + $3, recorded_at = greatest(h.recorded_at, mnemon.now()),
            tx = case when h.epoch = m.epoch then greatest(h.tx, pg_current_xact_id())
                      else pg_current_xact_id() end,
            epoch = m.epoch
        from mnemon.meta m
        where h.tenant = $1 and h.stream = $2
        returning h.version, h.recorded_at::text as "recorded_at!", h.tx::text as "tx!", h.epoch
        "#,
        scope.tenant,
        stream,
        count,
    )
    .fetch_one(&mut *conn)
    .await?;
    let same = |event: &NewEvent| {
        let occurred =
            event.occurred_at.map(|at| at.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string());
        occurred.unwrap_or_else(|| head.recorded_at.clone())
    };
    let mut sink = conn.copy_in_raw(COPY).await?;
    let mut text = String::with_capacity(2 * CHUNK);
    for (version, (event, id)) in (head.version - count + 1..).zip(events) {
        let data = event.data.to_string();
        line(
            &mut text,
            &[
                Some(scope.tenant),
                Some(stream),
                Some(&version.to_string()),
                Some(&id.to_string()),
                Some(&event.kind),
                event.correlation_id.as_deref(),
                scope.agent,
                scope.user,
                scope.session,
                scope.run,
                Some(&data),
                Some(&same(event)),
                Some(&head.recorded_at),
                Some(&head.tx),
                Some(&head.epoch.to_string()),
            ],
        );
        if text.len() >= CHUNK {
            sink.send(text.as_bytes()).await?;
            text.clear();
        }
    }
    sink.send(text.as_bytes()).await?;
    sink.finish().await?;
    Ok(())
}

/// One row in COPY's text form.
fn line(text: &mut String, values: &[Option<&str>]) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push('\t');
        }
        let Some(value) = value else {
            text.push_str("\\N");
            continue;
        };
        for char in value.chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                char if char.is_ascii_control() => {
                    write!(text, "\\x{:02x}", u32::from(char)).expect("a String takes any text");
                }
                char => text.push(char),
            }
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_or_a_row_is_escaped() {
        let mut text = String::new();

        line(&mut text, &[Some("a\tb\\"), None, Some("\n\u{1}é")]);

        assert_eq!(text, "a\\tb\\\\\t\\N\t\\n\\x01é\n");
    }
}
