//! What a setting may be, and how its text is read: durations, counts, switches, choices, lists.

use std::time::Duration;

/// What kind of value a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text as it is.
    Text,
    /// A connection string; never shown with its password.
    Url,
    /// A password or key; never shown.
    Secret,
    /// A length of time: `30s`, `10min`, `1h`.
    Duration,
    /// A whole number, at least this.
    Count(u32),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any of these words; in the environment joined by commas.
    Words(&'static [&'static str]),
}

impl Kind {
    /// The kind in the words of the documentation.
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Url => "connection string".to_owned(),
            Self::Secret => "secret text".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Count(least) => format!("whole number ≥ {least}"),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Choice(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            Self::Words(words) => format!("list of `{}`", words.join("`, `")),
        }
    }
}

/// A value as it was written, before its kind is known.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Switch(bool),
    List(Vec<String>),
}

/// A value of its kind.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Duration(Duration),
    Count(u32),
    Switch(bool),
    Words(Vec<&'static str>),
}

/// What is wrong with a value, without the value itself where it may be a secret.
pub(super) type Reason = String;

/// Reads a value from the environment's text.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, Reason> {
    let raw = match kind {
        Kind::Count(_) => match text.trim().parse() {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Text(text.to_owned()),
        },
        Kind::Switch => match text.trim() {
            "true" | "1" | "yes" | "on" => Raw::Switch(true),
            "false" | "0" | "no" | "off" => Raw::Switch(false),
            _ => Raw::Text(text.to_owned()),
        },
        Kind::Words(_) => Raw::List(
            text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect(),
        ),
        _ => Raw::Text(text.to_owned()),
    };
    from_raw(kind, raw)
}

/// Reads a value from the file's.
pub(super) fn from_raw(kind: Kind, raw: Raw) -> Result<Value, Reason> {
    match (kind, raw) {
        (Kind::Text | Kind::Url | Kind::Secret, Raw::Text(text)) => {
            if text.trim().is_empty() {
                return Err("is blank".to_owned());
            }
            Ok(Value::Text(text))
        }
        (Kind::Duration, Raw::Text(text)) => duration(&text).map(Value::Duration),
        (Kind::Count(least), Raw::Integer(number)) => match u32::try_from(number) {
            Ok(count) if count >= least => Ok(Value::Count(count)),
            _ => Err(format!("is {number}; it goes from {least} to {}", u32::MAX)),
        },
        (Kind::Switch, Raw::Switch(on)) => Ok(Value::Switch(on)),
        (Kind::Choice(words), Raw::Text(text)) => Ok(Value::Text(known(words, &text)?.to_owned())),
        (Kind::Words(words), Raw::List(list)) => {
            Ok(Value::Words(list.iter().map(|word| known(words, word)).collect::<Result<_, _>>()?))
        }
        (kind, _) => Err(format!("is not a {}", kind.describe())),
    }
}

fn known(words: &[&'static str], text: &str) -> Result<&'static str, Reason> {
    words
        .iter()
        .find(|word| **word == text.trim())
        .copied()
        .ok_or_else(|| format!("is {text:?}; known are {}", words.join(", ")))
}

/// The units of a duration with their milliseconds, longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

fn duration(text: &str) -> Result<Duration, Reason> {
    let wrong = || format!("is {text:?}, not a duration such as 500ms, 30s, 10min, 1h or 7d");
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text_trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit = text_trimmed[digits..].trim();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let millis = number.checked_mul(*factor).ok_or_else(wrong)?;
    if millis == 0 {
        return Err("is 0; it must be longer".to_owned());
    }
    Ok(Duration::from_millis(millis))
}

/// A duration in the largest unit that is exact, as [`from_text`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = UNITS
        .iter()
        .find(|(_, factor)| millis % factor == 0)
        .expect("every number of milliseconds is exact in milliseconds");
    format!("{}{unit}", millis / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_alike() {
        for text in ["250ms", "30s", "10min", "1h", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(show_duration(duration("90 s").unwrap()), "90s");
        assert_eq!(show_duration(duration("60s").unwrap()), "1min");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "30", "s", "-1s", "1.5h", "30 fortnights", "99999999999999999999d"] {
            assert!(duration(text).unwrap_err().contains("30s"), "{text}");
        }
        assert_eq!(duration("0s").unwrap_err(), "is 0; it must be longer");
    }

    #[test]
    fn a_number_of_the_wrong_kind_says_what_is_wanted() {
        let error = from_raw(Kind::Count(1), Raw::Text("ten".into())).unwrap_err();

        assert_eq!(error, "is not a whole number ≥ 1");
        assert!(from_raw(Kind::Count(1), Raw::Integer(-1)).is_err());
    }
}
