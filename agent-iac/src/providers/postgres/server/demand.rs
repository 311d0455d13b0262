//! What a server may ask for while one logs in.
//!
//! Owns the reading of its requests before the client answers them. A server
//! may ask for the password itself, and the client would tell it: whoever
//! stands where the server should be then has it. An answer by SCRAM proves the
//! password without telling it, so that it is the only one that is given. MD5
//! tells what is as good as the password. It knows nothing of TLS.

use std::{
    error, fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The tag of a request for authentication, and of its end.
const AUTHENTICATION: u8 = b'R';
/// The codes of requests for authentication.
const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
/// The bytes of a tag, a length, and the code of an authentication.
const HEAD: usize = 9;

/// What a server asked for and does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Cleartext,
    Md5,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cleartext => "the server asks for the password in clear",
            Self::Md5 => "the server asks for the password by MD5",
        })
    }
}

impl error::Error for Demand {}

/// What was read of a server's messages, up to the end of the authentication.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Whether the server may ask for the password itself.
    in_clear: bool,
    /// Nothing is asked for any more.
    is_over: bool,
    /// The beginning of the message that is under way.
    head: [u8; HEAD],
    known: usize,
    /// How much of it is still to come and tells nothing.
    rest: u64,
}

impl Watch {
    /// `in_clear` lets a server ask for the password itself.
    pub(super) fn new(in_clear: bool) -> Self {
        Self { in_clear, is_over: false, head: [0; HEAD], known: 0, rest: 0 }
    }

    /// Looks at what came, before anybody else does.
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), Demand> {
        while !self.is_over {
            let passed = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
            self.rest -= passed as u64;
            bytes = &bytes[passed..];
            let Some((&byte, after)) = bytes.split_first() else { break };
            bytes = after;
            self.head[self.known] = byte;
            self.known += 1;
            self.message()?;
        }
        Ok(())
    }

    /// Judges the message whose beginning is known so far.
    fn message(&mut self) -> Result<(), Demand> {
        let number = |from: usize| {
            let bytes: [u8; 4] = self.head[from..from + 4].try_into().expect("four bytes are four");
            u32::from_be_bytes(bytes)
        };
        // The length counts itself and not the tag.
        let is_asking = self.head[0] == AUTHENTICATION;
        match self.known {
            5 if !is_asking || number(1) < 8 => {
                self.rest = u64::from(number(1).saturating_sub(4));
                self.known = 0;
            }
            HEAD => {
                match number(5) {
                    OK => self.is_over = true,
                    CLEARTEXT if !self.in_clear => return Err(Demand::Cleartext),
                    MD5 => return Err(Demand::Md5),
                    _ => {}
                }
                self.rest = u64::from(number(1) - 8);
                self.known = 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads from a stream, and fails where the server asks for too much.
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) && !self.is_over {
            let seen = self.see(&buffer.filled()[before..]);
            if let Err(demand) = seen {
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other(demand)));
            }
        }
        read
    }
}

/// A stream that is watched, in clear or under TLS.
pub(super) struct Watched<S> {
    stream: S,
    watch: Watch,
}

impl<S> Watched<S> {
    /// Nobody in between is asked for a password in clear.
    pub(super) fn new(stream: S) -> Self {
        Self::by(stream, Watch::new(false))
    }

    /// A stream on which the watch decides what may be asked for.
    pub(super) fn by(stream: S, watch: Watch) -> Self {
        Self { stream, watch }
    }

    /// What is watched.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, watch } = self.get_mut();
        watch.poll_read(stream, cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    fn asking(code: u32, rest: &[u8]) -> Vec<u8> {
        message(b'R', &[&code.to_be_bytes(), rest].concat())
    }

    /// What is said of some bytes, in pieces of any size.
    fn said(bytes: &[u8], in_clear: bool) -> Option<Demand> {
        let of = |size: usize| {
            let mut watch = Watch::new(in_clear);
            bytes.chunks(size).find_map(|piece| watch.see(piece).err())
        };
        let all = of(bytes.len().max(1));
        for size in 1..bytes.len() {
            assert_eq!(of(size), all, "in pieces of {size}");
        }
        all
    }

    #[test]
    fn a_password_is_not_told_whatever_comes_before() {
        let scram = asking(10, b"SCRAM-SHA-256\0\0");
        let notice = message(b'N', b"SNOTICE\0\0R\0\0\0\x08\0\0\0\x03");
        for before in [vec![], notice, scram, message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0])] {
            let with = |asked: Vec<u8>| [&before[..], &asked[..]].concat();
            assert_eq!(said(&with(asking(3, b"")), false), Some(Demand::Cleartext));
            assert_eq!(said(&with(asking(5, b"salt")), false), Some(Demand::Md5));
            assert_eq!(said(&with(asking(3, b"")), true), None);
            assert_eq!(said(&with(asking(5, b"salt")), true), Some(Demand::Md5));
            assert_eq!(said(&before, false), None);
        }
    }

    #[test]
    fn what_comes_after_the_login_is_not_looked_at() {
        let rows = [asking(0, b""), message(b'D', b"R\0\0\0\x08\0\0\0\x03"), asking(3, b"")];
        assert_eq!(said(&rows.concat(), false), None);
    }

    #[test]
    fn a_length_that_cannot_be_is_the_clients_to_refuse() {
        for length in [0_u32, 3, 4, 7] {
            let bytes = [&b"R"[..], &length.to_be_bytes(), &3_u32.to_be_bytes()].concat();
            assert_eq!(said(&bytes, false), None);
        }
        let bytes = [&b"N"[..], &u32::MAX.to_be_bytes(), &[0; 40]].concat();
        assert_eq!(said(&bytes, false), None);
    }
}
