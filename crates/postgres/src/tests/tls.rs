//! TLS against a proxy that ends it: whom `verify-full` believes, and client certificates.

use std::sync::Arc;

use mnemon_core::Error;
use mnemon_testkit::{TestDatabase, TlsProxy, rustls};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::NamedTempFile;

use super::{database, number, open, with};
use crate::link::Retry;

/// A certificate authority of one test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    file: NamedTempFile,
}

/// A certificate with its key.
struct Leaf {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let file = file(&cert.pem());
        Self { der: cert.der().clone(), file, issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { der: cert.der().clone(), pem: cert.pem(), key }
    }

    fn server(&self, name: &str) -> Leaf {
        self.leaf(name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }
}

fn self_signed(name: &str) -> Leaf {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Leaf { der: made.cert.der().clone(), pem: made.cert.pem(), key: made.signing_key }
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// A proxy with this certificate; with `clients`, only for those whom that authority vouches for.
fn proxy(db: &TestDatabase, leaf: &Leaf, clients: Option<&Authority>) -> TlsProxy {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let config = config.with_single_cert(vec![leaf.der.clone()], key).unwrap();
    TlsProxy::to(&db.server().address(), Arc::new(config))
}

async fn answers(url: &str) {
    let link = open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!(number(&link, Retry::Idempotent, "select 42::int8").await.unwrap(), 42);
    link.close().await;
}

async fn refused(url: &str) -> String {
    match open(url).await {
        Err(error @ Error::Setup { .. }) => error.to_string(),
        Err(error) => panic!("{url}: {error:?}"),
        Ok(_) => panic!("{url}: was let in"),
    }
}

#[tokio::test]
async fn verify_full_believes_the_right_name_from_the_right_authority_only() {
    let Some(db) = database().await else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let verified = |proxy: &TlsProxy, mode: &str, host: &str| -> String {
        let root = ours.path();
        with(&proxy.url(db.url(), host), &format!("sslmode={mode}&sslrootcert={root}"))
    };

    let right = proxy(&db, &ours.server("localhost"), None);
    answers(&verified(&right, "verify-full", "localhost")).await;
    answers(&verified(&right, "verify-ca", "127.0.0.1")).await;
    let said = refused(&verified(&right, "verify-full", "127.0.0.1")).await;
    assert!(said.contains("TLS") && said.contains("127.0.0.1"), "{said}");

    let other_name = proxy(&db, &ours.server("other.example"), None);
    refused(&verified(&other_name, "verify-full", "localhost")).await;
    answers(&verified(&other_name, "verify-ca", "localhost")).await;

    let stranger = proxy(&db, &theirs.server("localhost"), None);
    refused(&verified(&stranger, "verify-full", "localhost")).await;
    refused(&verified(&stranger, "verify-ca", "localhost")).await;
    // With a root certificate `require` means `verify-ca`, as in libpq.
    refused(&verified(&stranger, "require", "localhost")).await;

    let alone = proxy(&db, &self_signed("localhost"), None);
    refused(&verified(&alone, "verify-full", "localhost")).await;
    // Without a root certificate the system's are asked, which do not know ours.
    refused(&with(&right.url(db.url(), "localhost"), "sslmode=verify-full")).await;
}

#[tokio::test]
async fn require_encrypts_without_asking_who_it_is_and_disable_does_not_encrypt() {
    let Some(db) = database().await else { return };
    let proxy = proxy(&db, &self_signed("localhost"), None);
    let url = |mode: &str| with(&proxy.url(db.url(), "127.0.0.1"), &format!("sslmode={mode}"));

    answers(&url("require")).await;
    answers(&url("prefer")).await;
    // The proxy refuses plain text as a server with `hostssl` lines does; `allow` then asks for TLS.
    answers(&url("allow")).await;
    assert!(refused(&url("disable")).await.contains("no encryption"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let Some(db) = database().await else { return };
    let authority = Authority::new();
    let proxy = proxy(&db, &authority.server("localhost"), Some(&authority));
    let leaf = authority.leaf("mnemon", ExtendedKeyUsagePurpose::ClientAuth);
    let (cert, key) = (file(&leaf.pem), file(&leaf.key.serialize_pem()));
    let url = with(
        &proxy.url(db.url(), "localhost"),
        &format!("sslmode=verify-full&sslrootcert={}", authority.path()),
    );

    let shown = format!(
        "sslcert={}&sslkey={}",
        cert.path().to_str().unwrap(),
        key.path().to_str().unwrap()
    );
    answers(&with(&url, &shown)).await;

    assert!(open(&url).await.is_err(), "no certificate, no entry");
}
