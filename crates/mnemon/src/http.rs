//! JSON over HTTP to a model server: bounded in time and size, tried again where that can help,
//! and its key in no message.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use mnemon_core::{Error, Result, limits, metric_names};
use serde_json::Value;
use tracing::Instrument as _;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::config::Secret;

/// Characters of a server's own words that a message repeats.
const QUOTED: usize = 200;

/// A server that answers JSON to JSON.
#[derive(Clone)]
pub(crate) struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    agent: Agent,
    /// Without a slash at its end.
    base: String,
    key: Option<Secret>,
    /// The section of the configuration that the key stands in.
    section: &'static str,
    timeout: Duration,
    /// Until when a server that failed is left alone.
    down: Mutex<Option<Instant>>,
}

/// Why one attempt failed, and whether another may do better.
struct Failure {
    error: Error,
    again: bool,
    /// The pause that the server asked for.
    pause: Option<Duration>,
}

impl Api {
    /// A server at `base`; `field` is the setting that an unusable one is blamed on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for anything but `http://…` and `https://…` without user, password or
    /// query: a key has a setting of its own, and messages show the address.
    pub(crate) fn new(
        field: &'static str,
        base: &str,
        key: Option<Secret>,
        timeout: Duration,
    ) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::invalid(field, reason));
        let Ok(uri) = base.parse::<Uri>() else {
            return refuse("has an address that is no URL");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return refuse("has an address that does not begin with http:// or https://");
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return refuse("has an address with a user or password in it: set the key instead");
        }
        if uri.query().is_some() {
            return refuse("has an address with a query in it");
        }
        if key.as_ref().is_some_and(|key| key.reveal().chars().any(char::is_control)) {
            return Err(Error::invalid("api_key", "holds a control character"));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A key goes where it was meant to go, and nowhere else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("mnemon/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots()).build())
            .build()
            .new_agent();
        let base = base.trim_end_matches('/').to_owned();
        let section = field.split('.').next().unwrap_or(field);
        let inner = Inner { agent, base, key, section, timeout, down: Mutex::new(None) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where the server is.
    pub(crate) fn base(&self) -> &str {
        &self.inner.base
    }

    /// Asks, again after a pause where the server is busy or out of reach for a moment.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] for a server that does not answer, is overloaded or failed lately;
    /// [`Error::Setup`] for a wrong key, address or certificate; [`Error::Invalid`] for what it
    /// refuses about the request itself; [`Error::Corrupt`] for an answer that is no JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let span = tracing::debug_span!(metric_names::SPAN_MODEL, server = self.base());
        self.ask(path, body).instrument(span).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Value> {
        self.inner.still_down()?;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(limits::RETRY_PAUSE)
            .with_max_delay(limits::RETRY_PAUSE_MAX)
            .with_max_times(limits::MODEL_ATTEMPTS - 1)
            .with_jitter()
            .build();
        loop {
            let failure = match self.once(path, body).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let asked = failure.pause.unwrap_or_default();
            let patient = failure.again && asked <= limits::MODEL_PAUSE_MAX;
            let Some(pause) = patient.then(|| pauses.next()).flatten() else {
                self.inner.note(&failure.error);
                return Err(failure.error);
            };
            tracing::debug!(server = self.base(), error = %failure.error, "asking again");
            tokio::time::sleep(pause.max(asked)).await;
        }
    }

    async fn once(&self, path: &str, body: &Value) -> Result<Value, Box<Failure>> {
        let url = format!("{}/{path}", self.inner.base);
        let (inner, body) = (Arc::clone(&self.inner), body.to_string());
        // The client blocks; the runtime's own threads must not.
        tokio::task::spawn_blocking(move || inner.send(&url, &body)).await.unwrap_or_else(|error| {
            Err(Failure::last(Error::backend("asking a model server", error)))
        })
    }
}

impl Inner {
    fn send(&self, url: &str, body: &str) -> Result<Value, Box<Failure>> {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        let mut response = request.send(body).map_err(|error| self.unreached(&error))?;
        let status = response.status().as_u16();
        let pause = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let answer = response
            .body_mut()
            .with_config()
            .limit(limits::MODEL_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|error| self.unreached(&error))?;
        if status == 200 {
            return serde_json::from_slice(&answer).map_err(|_| {
                Failure::last(Error::corrupt(self.answer(), "it is not JSON".to_owned()))
            });
        }
        Err(self.refused(status, pause, &answer))
    }

    fn answer(&self) -> String {
        format!("the answer of {}", self.base)
    }

    fn unreached(&self, error: &ureq::Error) -> Box<Failure> {
        let base = &self.base;
        let unavailable = |what: String| Error::Unavailable { what, retry_after: None };
        match error {
            // It had its time: another round would have the caller wait that long again.
            ureq::Error::Timeout(_) => Failure::last(unavailable(format!(
                "{base} did not answer within {} ms",
                self.timeout.as_millis()
            ))),
            ureq::Error::BodyExceedsLimit(limit) => Failure::last(Error::corrupt(
                self.answer(),
                format!("it is larger than {limit} bytes"),
            )),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Failure::last(Error::setup(
                format!("no safe connection to {base}: {error}"),
                "check its certificate, or have this machine trust who signed it",
            )),
            ureq::Error::HostNotFound => {
                Failure::again(unavailable(format!("the host of {base} is not known")))
            }
            ureq::Error::Io(cause) => {
                Failure::again(unavailable(format!("{base} is out of reach: {}", kind(cause))))
            }
            _ => Failure::again(unavailable(format!("{base} is out of reach"))),
        }
    }

    fn refused(&self, status: u16, pause: Option<Duration>, answer: &[u8]) -> Box<Failure> {
        let (base, section) = (&self.base, self.section);
        let said = self.said(answer);
        match status {
            408 | 425 | 429 | 500..=599 => {
                let what = format!("{base} answered {status}{said}");
                let error = Error::Unavailable { what, retry_after: pause };
                Box::new(Failure { error, again: true, pause })
            }
            401 | 403 => Failure::last(Error::setup(
                format!("{base} answered {status}{said}"),
                format!(
                    "set the key it wants ({section}.api_key, MNEMON_{}_API_KEY)",
                    section.to_uppercase()
                ),
            )),
            400 | 413 | 422 => Failure::last(Error::invalid(
                "embedding",
                format!("was refused by {base} with {status}{said}"),
            )),
            _ => Failure::last(Error::setup(
                format!("{base} answered {status}{said}"),
                "check the model's name and the address",
            )),
        }
    }

    /// The server's own words about an error, cut short, and without the key should it repeat it.
    fn said(&self, answer: &[u8]) -> String {
        let parsed: Option<Value> = serde_json::from_slice(answer).ok();
        let message = parsed.as_ref().and_then(|value| {
            let error = value.get("error")?;
            error.get("message").unwrap_or(error).as_str()
        });
        let mut text = message.unwrap_or_default().replace(char::is_control, " ");
        if let Some(key) = &self.key {
            text = text.replace(key.reveal(), "hidden");
        }
        text.truncate(text.floor_char_boundary(QUOTED));
        if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
    }

    /// Leaves a server alone for a while that was out of reach just now, so that a caller does not
    /// wait for it with every call.
    fn note(&self, error: &Error) {
        if matches!(error, Error::Unavailable { .. }) {
            *self.down() = Instant::now().checked_add(limits::MODEL_DOWN);
        }
    }

    fn still_down(&self) -> Result<()> {
        let left = self.down().and_then(|until| until.checked_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => Err(Error::Unavailable {
                what: format!("{} failed a moment ago", self.base),
                retry_after: Some(left),
            }),
            _ => Ok(()),
        }
    }

    fn down(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn last(error: Error) -> Box<Self> {
        Box::new(Self { error, again: false, pause: None })
    }

    fn again(error: Error) -> Box<Self> {
        Box::new(Self { error, again: true, pause: None })
    }
}

/// What an I/O error is, in the library's words: the system's may hold addresses and paths.
fn kind(error: &io::Error) -> String {
    error.kind().to_string()
}

/// The machine's own authorities, or Mozilla's where it has none.
fn roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    let certificates = found.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned());
    RootCerts::Specific(Arc::new(certificates.collect()))
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.inner.base).finish_non_exhaustive()
    }
}
