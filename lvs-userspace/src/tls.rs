//! TLS as a client: whom to trust, who to be.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a server is trusted, and how the client shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Trust {
    /// PEM file of authorities, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// Whatever certificate the server shows will do.
    pub insecure: bool,
    /// PEM files of the client's certificate chain and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("no authority to trust: {0}")]
    Authorities(String),
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    #[error("{0} is no name or address")]
    Name(String),
    #[error("{0}")]
    Handshake(#[source] io::Error),
}

/// Files are read again after so long: certificates are renewed.
const FRESH: Duration = Duration::from_secs(60);

type Key = (Trust, Vec<Vec<u8>>);

static CONFIGURATIONS: Mutex<BTreeMap<Key, (Instant, Arc<ClientConfig>)>> = Mutex::new(BTreeMap::new());

/// A handshake over `stream` with the server called `name`. `protocols` are for ALPN.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    trust: &Trust,
    name: &str,
    protocols: &[&str],
    stream: S,
) -> Result<TlsStream<S>, Error> {
    let config = config(trust, protocols)?;
    let server = ServerName::try_from(name.to_owned()).map_err(|_| Error::Name(name.to_owned()))?;
    TlsConnector::from(config).connect(server, stream).await.map_err(Error::Handshake)
}

/// When the server's certificate ends, in seconds since 1970.
pub(crate) fn end_of<S>(stream: &TlsStream<S>) -> Option<u64> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

fn config(trust: &Trust, protocols: &[&str]) -> Result<Arc<ClientConfig>, Error> {
    let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let key = (trust.clone(), protocols.clone());
    // Whoever panicked while holding it has left it whole: it is only ever replaced.
    let mut known = CONFIGURATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((since, config)) = known.get(&key)
        && since.elapsed() < FRESH
    {
        return Ok(Arc::clone(config));
    }
    let mut config = build(trust)?;
    config.alpn_protocols = protocols;
    let config = Arc::new(config);
    known.retain(|_, (since, _)| since.elapsed() < FRESH);
    known.insert(key, (Instant::now(), Arc::clone(&config)));
    Ok(config)
}

fn build(trust: &Trust) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if trust.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        let roots = Arc::new(authorities(trust)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| Error::Authorities(error.to_string()))?;
        builder.with_webpki_verifier(verifier)
    };
    let Some((certificates, key)) = &trust.certificate else { return Ok(builder.with_no_client_auth()) };
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |error: rustls::pki_types::pem::Error| Error::File { path, reason: error.to_string() }
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(failed(certificates))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

fn authorities(trust: &Trust) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match &trust.ca {
        Some(path) => {
            let failed = |reason: String| Error::File { path: path.clone(), reason };
            let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    match roots.is_empty() {
        true => Err(Error::Authorities("this machine has none (Debian: package ca-certificates)".to_owned())),
        false => Ok(roots),
    }
}

/// Trusts anybody, as the file asks for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
