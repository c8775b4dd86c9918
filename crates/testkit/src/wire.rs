//! As much of PostgreSQL's wire protocol as a proxy needs: where a client's message ends and what it is.

/// Length code of the request for TLS.
pub(crate) const SSL_REQUEST: u32 = 80_877_103;
/// Length code of the request for GSSAPI encryption.
const GSS_REQUEST: u32 = 80_877_104;
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// The server's `ReadyForQuery`, without its last byte, the transaction state.
const READY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// One whole message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Its bytes as sent.
    pub(crate) bytes: &'a [u8],
    /// Its type; `None` before the login is over.
    pub(crate) kind: Option<u8>,
}

impl Message<'_> {
    /// Whether it counts as a message of the conversation: after the start, and not a password.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self.kind, None | Some(b'p'))
    }

    /// Whether the server answers it with `ReadyForQuery`: a simple query or a `Sync`.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.kind, Some(b'Q' | b'S'))
    }

    /// Its SQL, when it is a simple query or a `Parse`.
    pub(crate) fn sql(&self) -> Option<&str> {
        let body = self.bytes.get(5..)?;
        let text = match self.kind? {
            b'Q' => body,
            // The statement's name comes first.
            b'P' => body.splitn(2, |byte| *byte == 0).nth(1)?,
            _ => return None,
        };
        std::str::from_utf8(text.split(|byte| *byte == 0).next()?).ok()
    }
}

/// Reads a client's messages off a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frontend {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Messages without a type.
    #[default]
    Start,
    /// Messages with one.
    Running,
    /// TLS: nothing can be read.
    Opaque,
}

impl Frontend {
    /// The first whole message in `buffer`, if there is one.
    pub(crate) fn next<'a>(&mut self, buffer: &'a [u8]) -> Option<Message<'a>> {
        let first = *buffer.first()?;
        if self.phase == Phase::Start && first == TLS_HANDSHAKE {
            self.phase = Phase::Opaque;
        }
        match self.phase {
            Phase::Opaque => Some(Message { bytes: buffer, kind: None }),
            Phase::Running => {
                let bytes = buffer.get(..1 + number(buffer, 1)?)?;
                Some(Message { bytes, kind: Some(first) })
            }
            Phase::Start => {
                // Never shorter than its length and its code.
                let bytes = buffer.get(..number(buffer, 0)?.max(8))?;
                let code = number(buffer, 4)?;
                if code != SSL_REQUEST as usize && code != GSS_REQUEST as usize {
                    self.phase = Phase::Running;
                }
                Some(Message { bytes, kind: None })
            }
        }
    }
}

/// Whether these bytes of a server end with `ReadyForQuery`.
pub(crate) fn ends_ready(bytes: &[u8]) -> bool {
    bytes.len() > READY.len() && bytes[..bytes.len() - 1].ends_with(&READY)
}

fn number(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes = buffer.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_where_they_end_through_tls_refusal_and_login() {
        let ssl = [0, 0, 0, 8, 4, 210, 22, 47];
        let start = [0, 0, 0, 9, 0, 3, 0, 0, 0];
        let query = b"Q\0\0\0\x0bCOMMIT\0";
        let mut frontend = Frontend::default();

        assert_eq!(frontend.next(&ssl).map(|m| m.kind), Some(None));
        assert_eq!(frontend.next(&start[..8]), None);
        assert_eq!(frontend.next(&start).map(|m| m.bytes.len()), Some(9));
        let two = [query.as_slice(), b"S\0\0\0\x04"].concat();
        let first = frontend.next(&two).unwrap();
        assert_eq!((first.sql(), first.bytes.len()), (Some("COMMIT"), query.len()));
        assert!(frontend.next(&two[query.len()..]).unwrap().is_answered());
    }

    #[test]
    fn a_parse_message_gives_its_sql() {
        let mut frontend = Frontend { phase: Phase::Running };
        let parse = b"P\0\0\0\x12sqlx_s\0select\0\0\0";

        assert_eq!(frontend.next(&parse[..]).unwrap().sql(), Some("select"));
    }

    #[test]
    fn tls_is_passed_on_unread() {
        let mut frontend = Frontend::default();

        assert_eq!(frontend.next(&[0x16, 3, 1]).unwrap().kind, None);
        assert_eq!(frontend.next(b"Q").map(|m| m.bytes.len()), Some(1));
    }
}
