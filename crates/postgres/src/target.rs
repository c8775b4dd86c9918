//! Where to connect: a connection string, checked, as one candidate per host.

use std::fmt;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use mnemon_core::{Result, limits};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgSslMode};

use crate::url::Parameters;

/// The name a connection goes by in `pg_stat_activity`.
const APPLICATION: &str = "mnemon";
/// The port when none is given.
const PORT: u16 = 5432;
/// Statements each connection keeps prepared.
const STATEMENTS: usize = 256;
/// How TLS is asked for.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// One server to try.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// `host:port`, or the socket's path: for messages.
    pub(crate) shown: String,
    pub(crate) options: PgConnectOptions,
}

/// The servers of one connection string, in order; its `Debug` holds no secret.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) candidates: Vec<Candidate>,
    /// Whether a server that takes no writes is passed over.
    pub(crate) read_write: bool,
    /// How long each server is given.
    pub(crate) connect_timeout: Duration,
    /// Whether start-up `options` are sent, which poolers cannot keep apart.
    pub(crate) has_options: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // PgConnectOptions would print the password.
        f.debug_tuple("Target").field(&self.shown()).finish()
    }
}

impl Target {
    /// Reads the connection string of a setting (`url`, `direct_url`, `maintenance_url`), filled up
    /// from the environment and the password file as libpq does.
    pub(crate) fn parse(field: &'static str, text: &str) -> Result<Self> {
        let parameters = Parameters::parse(field, text)?;
        Self::from_parameters(&parameters.or_environment(|name| std::env::var(name).ok()))
    }

    /// The server of a pool that somebody else made.
    pub(crate) fn of_pool(pool: &PgPool) -> Self {
        let options = PgConnectOptions::clone(&pool.connect_options());
        let shown = shown(options.get_host(), options.get_port());
        Self {
            has_options: options.get_options().is_some(),
            candidates: vec![Candidate { shown, options }],
            read_write: false,
            connect_timeout: limits::CONNECT_TIMEOUT,
        }
    }

    /// Every server, for messages.
    pub(crate) fn shown(&self) -> String {
        let mut names: Vec<&str> = self.candidates.iter().map(|c| c.shown.as_str()).collect();
        names.dedup();
        names.join(", ")
    }

    fn from_parameters(parameters: &Parameters) -> Result<Self> {
        let modes = ssl_modes(parameters)?;
        let mut candidates = Vec::new();
        let hosts = hosts(parameters)?;
        for (host, port) in &hosts {
            for mode in &modes {
                candidates.push(Candidate {
                    shown: shown(host, *port),
                    options: options(parameters, host, *port, *mode)?,
                });
                if host.starts_with('/') {
                    // TLS is not spoken on a socket: one attempt is enough.
                    break;
                }
            }
        }
        Ok(Self {
            candidates,
            read_write: read_write(parameters, hosts.len())?,
            connect_timeout: connect_timeout(parameters)?,
            has_options: parameters.get("options").is_some(),
        })
    }
}

fn shown(host: &str, port: u16) -> String {
    if host.starts_with('/') {
        format!("{host}/.s.PGSQL.{port}")
    } else if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn hosts(parameters: &Parameters) -> Result<Vec<(String, u16)>> {
    let hosts: Vec<&str> = parameters.get("host").unwrap_or_default().split(',').collect();
    let ports: Vec<&str> = parameters.get("port").unwrap_or_default().split(',').collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(parameters.refuse(format!(
            "names {} ports for {} hosts; give one port, or one for each host",
            ports.len(),
            hosts.len()
        )));
    }
    let each = hosts.iter().enumerate().map(|(at, host)| {
        let port = match ports.get(at).unwrap_or(&ports[0]).trim() {
            "" => PORT,
            text => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                // The text is not shown: it may be the end of an unencoded password.
                parameters.refuse(
                    "has a port that is not a number from 1 to 65535 \
                     (in a URL write / ? # of a password as %2F %3F %23)",
                )
            })?,
        };
        let host = match host.trim() {
            "" => default_host(port),
            host => host.to_owned(),
        };
        Ok((host, port))
    });
    each.collect()
}

/// Where libpq looks when no host is given: the server's usual socket, else this machine.
fn default_host(port: u16) -> String {
    let folders = ["/var/run/postgresql", "/private/tmp", "/tmp"];
    let found = folders.iter().find(|at| Path::new(at).join(format!(".s.PGSQL.{port}")).exists());
    found.map_or_else(|| "localhost".to_owned(), |at| (*at).to_owned())
}

/// The ways to ask for TLS, in order; `allow` is two.
fn ssl_modes(parameters: &Parameters) -> Result<Vec<PgSslMode>> {
    let root = parameters.get("sslrootcert");
    let modes = match parameters.get("sslmode").unwrap_or("prefer") {
        "disable" => vec![PgSslMode::Disable],
        "allow" => vec![PgSslMode::Disable, PgSslMode::Require],
        "prefer" => vec![PgSslMode::Prefer],
        // With a root certificate libpq takes `require` for `verify-ca`.
        "require" if root.is_some() => vec![PgSslMode::VerifyCa],
        "require" => vec![PgSslMode::Require],
        "verify-ca" => vec![PgSslMode::VerifyCa],
        "verify-full" => vec![PgSslMode::VerifyFull],
        _ => {
            return Err(parameters
                .refuse(format!("has an unknown sslmode; known: {}", SSL_MODES.join(", "))));
        }
    };
    if root == Some("system") && parameters.get("sslmode") != Some("verify-full") {
        return Err(parameters.refuse("has sslrootcert=system, which needs sslmode=verify-full"));
    }
    Ok(modes)
}

fn read_write(parameters: &Parameters, hosts: usize) -> Result<bool> {
    match parameters.get("target_session_attrs") {
        // Of several servers only one takes writes, and a memory that cannot be written is none.
        None => Ok(hosts > 1),
        Some("any") => Ok(false),
        Some("read-write" | "primary") => Ok(true),
        Some(_) => Err(parameters.refuse(
            "has a target_session_attrs that cannot serve; known: any, read-write, primary",
        )),
    }
}

fn connect_timeout(parameters: &Parameters) -> Result<Duration> {
    let Some(text) = parameters.get("connect_timeout") else {
        return Ok(limits::CONNECT_TIMEOUT);
    };
    match text.trim().parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(parameters.refuse("has a connect_timeout that is not 1 to 3600 seconds")),
    }
}

fn options(
    parameters: &Parameters,
    host: &str,
    port: u16,
    mode: PgSslMode,
) -> Result<PgConnectOptions> {
    let mut options = base(parameters, host, port)
        .host(host)
        .port(port)
        .application_name(parameters.get("application_name").unwrap_or(APPLICATION))
        .statement_cache_capacity(STATEMENTS)
        // A start-up parameter that PgBouncer does not know.
        .extra_float_digits(None)
        .ssl_mode(if host.starts_with('/') { PgSslMode::Disable } else { mode })
        .disable_statement_logging();
    if let Some(user) = parameters.get("user") {
        options = options.username(user);
    }
    if let Some(password) = parameters.get("password") {
        options = options.password(password);
    }
    if let Some(database) = parameters.get("dbname") {
        options = options.database(database);
    }
    if let Some(path) = parameters.get("sslrootcert").filter(|path| *path != "system") {
        check_pem(parameters, "sslrootcert", path, "CERTIFICATE-----")?;
        options = options.ssl_root_cert(path);
    }
    match (parameters.get("sslcert"), parameters.get("sslkey")) {
        (Some(cert), Some(key)) => {
            check_pem(parameters, "sslcert", cert, "CERTIFICATE-----")?;
            check_pem(parameters, "sslkey", key, "PRIVATE KEY-----")?;
            options = options.ssl_client_cert(cert).ssl_client_key(key);
        }
        (None, None) => {}
        _ => return Err(parameters.refuse("has only one of sslcert and sslkey; both are needed")),
    }
    if parameters.get("channel_binding") == Some("require") {
        return Err(parameters.refuse(
            "has channel_binding=require, which is not supported; \
             leave it out and use sslmode=verify-full",
        ));
    }
    Ok(options)
}

/// The driver's own options: they know the operating system's user, and the password file when
/// they are made from a URL.
fn base(parameters: &Parameters, host: &str, port: u16) -> PgConnectOptions {
    let encode = |text: &str| -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes())
            .collect::<String>()
            .replace('+', "%20")
    };
    let user = parameters.get("user").map_or_else(String::new, |user| encode(user) + "@");
    let database = parameters.get("dbname").map_or_else(String::new, encode);
    let startup = parameters
        .get("options")
        .map_or_else(String::new, |options| format!("?options={}", encode(options)));
    let host = if host.contains(':') { format!("[{host}]") } else { encode(host) };
    let url = format!("postgres://{user}{host}:{port}/{database}{startup}");
    PgConnectOptions::from_str(&url).unwrap_or_else(|_| PgConnectOptions::new_without_pgpass())
}

/// A certificate file that cannot serve is found out before any server is asked.
fn check_pem(parameters: &Parameters, key: &str, path: &str, marker: &str) -> Result<()> {
    let bytes = std::fs::read(path)
        .map_err(|cause| parameters.refuse(format!("names {key} {path}, unreadable: {cause}")))?;
    let holds = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    if !holds {
        // The driver would go on with the system's certificates, in silence.
        let wanted = marker.trim_end_matches('-').to_lowercase();
        return Err(parameters.refuse(format!("names {key} {path}, which holds no PEM {wanted}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        let parameters = Parameters::parse("url", text).unwrap();
        Target::from_parameters(&parameters).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn refusal(text: &str) -> String {
        let parameters = Parameters::parse("url", text).unwrap();
        Target::from_parameters(&parameters).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn several_hosts_become_candidates_in_order_that_must_take_writes() {
        let several = target("postgres://u:pw@a,b:5433,[::1]:5434/mem");

        assert_eq!(several.shown(), "a:5432, b:5433, [::1]:5434");
        assert!(several.read_write);
        assert!(!target("postgres://a,b/mem?target_session_attrs=any").read_write);
        assert!(!target("postgres://a/mem").read_write);
        assert_eq!(target("host=a,b port=6000").shown(), "a:6000, b:6000");
    }

    #[test]
    fn what_was_given_reaches_the_driver() {
        let target = target(
            "host=db user='a b' dbname='m/1' application_name=x connect_timeout=3 options='-c a=b'",
        );

        let options = &target.candidates[0].options;
        assert_eq!(options.get_username(), "a b");
        assert_eq!(options.get_database(), Some("m/1"));
        assert_eq!(options.get_application_name(), Some("x"));
        assert_eq!(options.get_options(), Some("-c a=b"));
        assert_eq!(target.connect_timeout, Duration::from_secs(3));
        assert!(target.has_options);
    }

    #[test]
    fn a_connection_is_named_after_us_unless_told_otherwise() {
        let target = target("postgres://db/mem");

        assert_eq!(target.candidates[0].options.get_application_name(), Some("mnemon"));
    }

    #[test]
    fn allow_tries_without_tls_and_then_with_it() {
        let modes = |text| {
            target(text)
                .candidates
                .iter()
                .map(|candidate| format!("{:?}", candidate.options.get_ssl_mode()))
                .collect::<Vec<_>>()
        };

        assert_eq!(modes("host=h sslmode=allow"), ["Disable", "Require"]);
        assert_eq!(modes("host=/run/x sslmode=verify-full"), ["Disable"]);
        assert_eq!(modes("host=h"), ["Prefer"]);
    }

    #[test]
    fn values_that_cannot_serve_are_refused_by_name() {
        for (text, says) in [
            ("postgres://h:99999/db", "port"),
            ("host=a,b port=1,2,3", "3 ports for 2 hosts"),
            ("host=h sslmode=on", "verify-full"),
            ("host=h sslmode=verify-full sslrootcert=/no/such.pem", "/no/such.pem"),
            ("host=h sslcert=/x", "sslkey"),
            ("host=h sslrootcert=system", "verify-full"),
            ("host=h target_session_attrs=standby", "read-write"),
            ("host=h connect_timeout=soon", "connect_timeout"),
            ("host=h channel_binding=require", "channel_binding"),
        ] {
            let message = refusal(text);
            assert!(message.starts_with("url: ") && message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn no_debug_output_holds_the_password() {
        let target = target("postgres://u:canary@h1,h2/db");

        assert_eq!(format!("{target:?}"), r#"Target("h1:5432, h2:5432")"#);
    }
}
