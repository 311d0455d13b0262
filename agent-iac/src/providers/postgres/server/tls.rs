//! TLS for the client, by rustls.
//!
//! Owns whom a connection trusts and the binding of a login to the
//! certificate. It installs nothing global: the cryptography is named in each
//! configuration.

use std::{future::Future, io, path::Path, pin::Pin, sync::Arc};

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::demand::{Watch, Watched};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// Whom connections to a server trust.
#[derive(Clone)]
pub(super) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The authorities in a PEM file, or those of the system.
    pub(super) fn new(root: Option<&Path>) -> Result<Self> {
        let roots = match root {
            Some(path) => from_file(path)?,
            None => from_system()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// A handshake with the server of this name or address, and what the server
    /// may ask for after it.
    pub(super) fn with(&self, host: &str, watch: Watch) -> Result<Handshake> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("no certificate can be for the host {}", quoted(host)),
            )
            .help("name the server as the DNS does")
            .caused_by(error)
        })?;
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.0)), name, watch })
    }
}

fn from_file(path: &Path) -> Result<RootCertStore> {
    let wrong = |kind, what: &str| {
        Error::new(kind, format!("the file of authorities `{}` {what}", path.display()))
            .help("let `sslrootcert` name a PEM file with the authority's certificate")
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(ErrorKind::Io, "cannot be read").caused_by(error))?;
    for certificate in certificates {
        let certificate = certificate
            .map_err(|error| wrong(ErrorKind::InvalidInput, "is no PEM file").caused_by(error))?;
        roots.add(certificate).map_err(|error| {
            wrong(ErrorKind::InvalidInput, "has a certificate that cannot be used").caused_by(error)
        })?;
    }
    if roots.is_empty() {
        return Err(wrong(ErrorKind::InvalidInput, "holds no certificate"));
    }
    Ok(roots)
}

fn from_system() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // A system has certificates that are odd; what counts is that some are not.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let error = Error::new(ErrorKind::NotFound, "this system has no trusted authorities")
            .help("install its package of certificates, or name a file by `sslrootcert`");
        return Err(match found.errors.into_iter().next() {
            Some(cause) => error.caused_by(cause),
            None => error,
        });
    }
    Ok(roots)
}

/// What a failed handshake means, when TLS failed for a reason of its own.
pub(super) fn refused(error: &rustls::Error) -> Option<(&'static str, &'static str)> {
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    Some(match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "the server's certificate is for another name",
            "connect by a name that stands in its subjectAltName (its common name does not count)",
        ),
        CertificateError::UnknownIssuer => (
            "the server's certificate is from an authority that is not trusted",
            "name the authority's PEM file by `sslrootcert`",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired", "renew it")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "the server's certificate is not valid yet",
            "check the clock of this machine and the certificate",
        ),
        CertificateError::Revoked => ("the server's certificate was revoked", "renew it"),
        _ => (
            "the server's certificate cannot be accepted",
            "let an authority sign one for the server, and trust the authority",
        ),
    })
}

/// One handshake to come.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
    watch: Watch,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.name, stream).await?;
            Ok(Watched::by(Box::new(stream), self.watch))
        })
    }
}

/// A connection under TLS.
pub(super) type Encrypted<S> = Watched<Box<tokio_rustls::client::TlsStream<S>>>;

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.stream().get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(digest) => ChannelBinding::tls_server_end_point(digest),
            None => ChannelBinding::none(),
        }
    }
}

/// The `tls-server-end-point` of RFC 5929: the digest of the certificate by
/// the hash function of its signature, or by SHA-256 where that is MD5 or
/// SHA-1. Signatures that name no such function bind nothing.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (tag, body, _) = element(certificate)?;
    if tag != SEQUENCE {
        return None;
    }
    let (_, _to_be_signed, rest) = element(body)?;
    let (tag, algorithm, _) = element(rest)?;
    if tag != SEQUENCE {
        return None;
    }
    let (tag, oid, _) = element(algorithm)?;
    if tag != OBJECT_IDENTIFIER {
        return None;
    }
    Some(match oid {
        // 1.2.840.113549.1.1: with RSA, by MD5, SHA-1 and SHA-256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04 | 0x05 | 0x0b]
        // 1.2.840.10045.4: with ECDSA, by SHA-1 and SHA-256.
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => Sha256::digest(certificate).to_vec(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => Sha384::digest(certificate).to_vec(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The first element of DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
