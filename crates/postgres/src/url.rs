//! Connection strings as libpq reads them: `postgres://` URLs and `key=value` lists, with several
//! hosts. Nothing is ignored: an unknown key is refused, and no message repeats a value.

use std::borrow::Cow;

use mnemon_core::{Error, Result};

/// Schemes of the URL form.
const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// The keys understood, each with the environment variable that stands in for it.
const KEYS: [(&str, &str); 14] = [
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("options", "PGOPTIONS"),
];

/// How to write what ends a part of a URL.
const ENCODE: &str =
    "(in a URL write / ? # @ : % of a name or password as %2F %3F %23 %40 %3A %25)";

/// What a connection string says, key by key; holds the password, so it has no `Debug`.
pub(crate) struct Parameters {
    /// The setting it was read from (`url`, `direct_url`): the field that errors name.
    field: &'static str,
    values: [Option<String>; KEYS.len()],
}

impl Parameters {
    /// Reads a connection string; `field` is the setting it stands in.
    pub(crate) fn parse(field: &'static str, text: &str) -> Result<Self> {
        let mut parameters = Self { field, values: Default::default() };
        match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['=', ' ', '\'']) => {
                parameters.check_scheme(scheme)?;
                parameters.read_url(rest)?;
            }
            _ if text.contains('=') => parameters.read_list(text)?,
            _ => {
                return Err(parameters.refuse(
                    "is neither a postgres:// URL nor a list like `host=localhost dbname=mnemon`",
                ));
            }
        }
        Ok(parameters)
    }

    /// Fills what is missing from the environment, as libpq does.
    pub(crate) fn or_environment(mut self, read: impl Fn(&str) -> Option<String>) -> Self {
        for (value, (_, variable)) in self.values.iter_mut().zip(KEYS) {
            if value.is_none() {
                *value = read(variable).filter(|found| !found.is_empty());
            }
        }
        self
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &'static str) -> Option<&str> {
        let index = KEYS.iter().position(|(known, _)| *known == key).expect("a key of the table");
        self.values[index].as_deref()
    }

    /// The error for something wrong in this string.
    pub(crate) fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::invalid(self.field, reason)
    }

    fn check_scheme(&self, scheme: &str) -> Result<()> {
        if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Ok(());
        }
        // What stands before "://" may be a mangled password: only a scheme's letters are shown.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let shown = if scheme.len() <= 20 && scheme.chars().all(plain) { scheme } else { "…" };
        Err(self.refuse(format!("has the unknown scheme `{shown}`; known: {}", SCHEMES.join(", "))))
    }

    /// Reads `[user[:password]@][host[:port],…][/dbname][?key=value&…]`.
    fn read_url(&mut self, rest: &str) -> Result<()> {
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None if path.contains('@') => {
                return Err(self.refuse(format!("has an @ after a / {ENCODE}")));
            }
            None => (None, authority),
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            self.set_encoded("user", user)?;
            if let Some(password) = password {
                self.set_encoded("password", password)?;
            }
        }
        self.read_hosts(hosts)?;
        self.set_encoded("dbname", path)?;
        // A '?' in a password moves the rest of it into the query: then no key is repeated.
        let trusted = login.is_some() || !query.contains('@');
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| self.refuse("has a parameter without a value after the `?`"))?;
            let key = self.decode(key)?;
            // What hosting providers write for sslmode=require.
            let (key, value) = match (&*key, value) {
                ("ssl", "true") => (Cow::Borrowed("sslmode"), "require"),
                _ => (key, value),
            };
            let key = self.known(&key, trusted)?;
            self.set_encoded(key, value)?;
        }
        Ok(())
    }

    fn read_hosts(&mut self, text: &str) -> Result<()> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            let (host, port) = if let Some(address) = part.strip_prefix('[') {
                let (host, after) = address
                    .split_once(']')
                    .ok_or_else(|| self.refuse("has a `[` without its `]` in a host"))?;
                (host, after.strip_prefix(':').unwrap_or(after))
            } else {
                part.split_once(':').unwrap_or((part, ""))
            };
            hosts.push(self.decode(host)?.into_owned());
            ports.push(port.to_owned());
        }
        if hosts.iter().any(|host| !host.is_empty()) || hosts.len() > 1 {
            self.set("host", hosts.join(","));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", ports.join(","));
        }
        Ok(())
    }

    /// Reads `key = value key='it''s'`, backslash escaping as libpq does it.
    fn read_list(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim_start();
        // The words after an unquoted password may be more of it: then no key is repeated.
        let mut trusted = true;
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=').ok_or_else(|| {
                self.refuse("has a word without `=`; put a value with spaces in '…'")
            })?;
            let key = key.trim_end();
            if key.contains(char::is_whitespace) {
                return Err(self.refuse("has a word without `=`; put a value with spaces in '…'"));
            }
            let key = self.known(key, trusted)?;
            let after = after.trim_start();
            trusted &= key != "password" || after.starts_with('\'');
            let (value, left) = self.read_value(after)?;
            self.set(key, value);
            rest = left.trim_start();
        }
        Ok(())
    }

    fn read_value<'t>(&self, text: &'t str) -> Result<(String, &'t str)> {
        let quoted = text.starts_with('\'');
        let mut value = String::new();
        let mut chars = text.char_indices().skip(usize::from(quoted));
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                '\'' if quoted => return Ok((value, &text[at + 1..])),
                _ if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
                _ => value.push(c),
            }
        }
        if quoted {
            return Err(self.refuse("has a value whose closing ' is missing"));
        }
        Ok((value, ""))
    }

    fn known(&self, key: &str, trusted: bool) -> Result<&'static str> {
        let found = KEYS.iter().map(|(known, _)| *known).find(|known| *known == key);
        found.ok_or_else(|| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let shown =
                if trusted && key.len() <= 40 && key.chars().all(plain) { key } else { "…" };
            let known: Vec<_> = KEYS.iter().map(|(known, _)| *known).collect();
            self.refuse(format!("has the unknown key `{shown}`; known: {}", known.join(", ")))
        })
    }

    fn decode<'t>(&self, text: &'t str) -> Result<Cow<'t, str>> {
        let bad = || self.refuse(format!("has a % that no two hexadecimal digits follow {ENCODE}"));
        if !text.contains('%') {
            return Ok(Cow::Borrowed(text));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut parts = text.split('%');
        bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let digits = part.get(..2).ok_or_else(bad)?;
            // from_str_radix alone would take a sign.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            bytes.extend_from_slice(&part.as_bytes()[2..]);
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| self.refuse("has percent-encoded bytes that are not UTF-8"))?;
        Ok(Cow::Owned(text))
    }

    fn set_encoded(&mut self, key: &'static str, value: &str) -> Result<()> {
        let value = self.decode(value)?.into_owned();
        self.set(key, value);
        Ok(())
    }

    /// Later values win; an empty one is none, except a password's, which may be meant.
    fn set(&mut self, key: &'static str, value: String) {
        let index = KEYS.iter().position(|(known, _)| *known == key).expect("a key of the table");
        if !value.is_empty() || key == "password" {
            self.values[index] = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary";

    fn read(text: &str) -> Vec<(&'static str, String)> {
        let parameters = Parameters::parse("url", text).unwrap_or_else(|e| panic!("{text}: {e}"));
        KEYS.iter().filter_map(|(key, _)| Some((*key, parameters.get(key)?.to_owned()))).collect()
    }

    fn refusal(text: &str) -> String {
        let error = Parameters::parse("url", text).err().unwrap_or_else(|| panic!("{text}: taken"));
        assert!(matches!(error, Error::Invalid { .. }));
        error.to_string()
    }

    #[test]
    fn a_url_and_a_list_say_the_same() {
        let url = read("postgresql://ann:s%40p%2Fx@db.example:5433/mem?sslmode=require");
        let list = read(
            "host=db.example port = 5433 user=ann password='s@p/x' dbname=mem  sslmode=require ",
        );

        assert_eq!(url, list);
        assert_eq!(url[3], ("password", "s@p/x".to_owned()));
    }

    #[test]
    fn several_hosts_keep_their_order_and_ports() {
        let url = read("postgres://a,b:5433,[::1]:5434/mem?target_session_attrs=read-write");

        assert_eq!(url[0], ("host", "a,b,::1".to_owned()));
        assert_eq!(url[1], ("port", ",5433,5434".to_owned()));
    }

    #[test]
    fn quotes_and_backslashes_in_a_list_are_libpqs() {
        let list = read(r"password='it\'s \\ fine' user=a\ b");

        assert_eq!(list, [("user", "a b".to_owned()), ("password", r"it's \ fine".to_owned())]);
    }

    #[test]
    fn a_socket_folder_is_a_host() {
        assert_eq!(read("postgres://%2Frun%2Fpg/mem")[0], ("host", "/run/pg".to_owned()));
        assert_eq!(read("host=/run/pg")[0], ("host", "/run/pg".to_owned()));
        assert_eq!(read("postgres:///mem"), [("dbname", "mem".to_owned())]);
    }

    #[test]
    fn the_environment_fills_what_is_missing_only() {
        let environment = |name: &str| match name {
            "PGUSER" => Some("env".to_owned()),
            "PGHOST" => Some("elsewhere".to_owned()),
            "PGPORT" => Some(String::new()),
            _ => None,
        };
        let parameters = Parameters::parse("url", "host=here").unwrap().or_environment(environment);

        assert_eq!(parameters.get("host"), Some("here"));
        assert_eq!(parameters.get("user"), Some("env"));
        assert_eq!(parameters.get("port"), None);
    }

    #[test]
    fn unknown_keys_and_schemes_are_refused_with_what_is_known() {
        let key = refusal("postgres://h/db?sslmoed=require");
        assert!(key.contains("`sslmoed`") && key.contains("sslmode, sslrootcert"), "{key}");

        let scheme = refusal("mysql://h/db");
        assert!(scheme.contains("`mysql`; known: postgres, postgresql"), "{scheme}");

        assert!(refusal("host=h bogus=1").contains("`bogus`"));
        assert!(refusal("somewhere").contains("postgres:// URL"));
    }

    #[test]
    fn no_refusal_repeats_a_part_of_a_password() {
        for text in [
            "postgres://u:x/canary@h/db",
            "postgres://u:1?canary=2@h/db",
            "postgres://u:1?canary@h/db",
            "postgres://u:canary%zz@h/db",
            "postgres://u:%c3canary@h/db",
            "postgres://u:canary@h/db?nokey=1",
            "canary secret://u@h/db",
            "canary:x@://h",
            "password=x canary",
            "password=x canary =3 y",
            "password='canary",
            "password=x canary/y=3",
            "canary",
        ] {
            let message = refusal(text);
            assert!(!message.contains(CANARY), "{text}: {message}");
        }
    }
}
