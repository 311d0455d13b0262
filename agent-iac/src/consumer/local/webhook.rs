//! A webhook: one request, signed.
//!
//! The body of a consumer's says which credential has which generation, and
//! holds no secret.
//! `Agent-Iac-Signature: t=SECONDS,v1=HEX` is HMAC-SHA-256 of `SECONDS.BODY`
//! under the key that both sides have; a receiver that compares the time keeps
//! old requests from being sent to it again. No redirection is followed: the
//! host allowed one host.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::{
    consumer::{Notice, Told, Webhook},
    secret::Secret,
};

/// As much of an answer as its first line may take.
const LONGEST_LINE: usize = 512;

/// What is sent.
pub(super) struct Request(String);

impl Request {
    pub(super) fn sign(hook: &Webhook, body: &str, key: &Secret, now: Timestamp) -> Self {
        let seconds = now.as_second();
        let signature = hmac(key, format!("{seconds}.{body}").as_bytes());
        Self(format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nAgent-Iac-Signature: t={seconds},v1={signature}\r\n\
             Connection: close\r\n\r\n{body}",
            hook.path(),
            hook.authority(),
            body.len(),
        ))
    }
}

/// What a consumer is told.
pub(super) fn body(notice: Notice<'_>) -> String {
    let body = serde_json::json!({
        "credential": notice.credential,
        "generation": notice.generation,
        "place": notice.place,
        "consumer": notice.consumer,
    });
    body.to_string()
}

pub(super) fn post(hook: &Webhook, request: &Request, limit: Duration) -> Told {
    match status(hook, request, limit) {
        Ok(200..=299) => Told::Told,
        Ok(status) => failed(format!("`{}` answered {status}", hook.authority())),
        Err(error) => failed(format!("cannot reach `{}`: {error}", hook.authority())),
    }
}

fn status(hook: &Webhook, request: &Request, limit: Duration) -> io::Result<u16> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (hook.host(), hook.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                return if hook.is_secure() {
                    secured(hook.host(), stream, request)
                } else {
                    exchange(stream, request)
                };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(feature = "webhooks")]
fn secured(host: &str, stream: TcpStream, request: &Request) -> io::Result<u16> {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    exchange(StreamOwned::new(connection, stream), request)
}

#[cfg(not(feature = "webhooks"))]
fn secured(_: &str, _: TcpStream, _: &Request) -> io::Result<u16> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "it was built without the feature `webhooks`"))
}

fn exchange(mut stream: impl Read + Write, request: &Request) -> io::Result<u16> {
    stream.write_all(request.0.as_bytes())?;
    stream.flush()?;
    let mut line = Vec::new();
    let mut part = [0_u8; 64];
    while line.len() < LONGEST_LINE && !line.contains(&b'\n') {
        match stream.read(&mut part)? {
            0 => break,
            read => line.extend_from_slice(&part[..read]),
        }
    }
    let line = String::from_utf8_lossy(&line);
    let mut words = line.split([' ', '\r', '\n']);
    let protocol = words.next().filter(|word| word.starts_with("HTTP/1."));
    let status = protocol.and(words.next()).and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// HMAC-SHA-256 (RFC 2104), in hexadecimal.
fn hmac(key: &Secret, message: &[u8]) -> String {
    let block = key.expose(|key| {
        let mut block = [0_u8; 64];
        if key.len() > block.len() {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        block
    });
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        for (key, message, expected) in [
            (
                vec![0x0b; 20],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hmac(&Secret::from_bytes(key), message), expected);
        }
    }
}
