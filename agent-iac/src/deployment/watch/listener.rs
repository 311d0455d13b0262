//! Answers who asks how a watcher is, over HTTP.
//!
//! `/healthz`, `/readyz` and `/metrics`, and nothing else: it takes no body,
//! keeps no connection, and changes nothing. Whoever can reach it learns counts
//! of a fleet, so it listens where it is told and not everywhere.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::Status;
use crate::error::{Error, ErrorKind, Result};

/// The longest request: three short paths and the usual headers.
const LONGEST: usize = 8_192;

/// How long one read or write may take, and how many reads a request may: so
/// nobody holds a connection for longer than a few seconds.
const PATIENCE: Duration = Duration::from_millis(500);
const MOST_READS: usize = 10;

/// How many are answered at once; who comes then is told to come again.
const MOST: usize = 16;

/// How long it waits after a connection could not be taken, as when the process
/// has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

/// Listens for questions until it is dropped.
///
/// ```no_run
/// # fn watcher() -> agent_iac::deployment::watch::Watcher { unimplemented!() }
/// use agent_iac::deployment::watch::Listener;
///
/// let watcher = watcher();
/// let listener = Listener::bind("127.0.0.1:9464".parse().unwrap(), watcher.status())?;
/// println!("http://{}/metrics", listener.address());
/// # Ok::<(), agent_iac::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Begins to listen. Port 0 is any that is free.
    ///
    /// # Errors
    ///
    /// When the address is taken, or is not this machine's.
    pub fn bind(address: SocketAddr, status: Status) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot listen on {address}"))
                .help("give another address, or end the program that has this one")
                .caused_by(error)
        };
        let socket = TcpListener::bind(address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::Builder::new()
            .name("watch listener".to_owned())
            .spawn(move || accept(&socket, &status, &ends))
            .map_err(failed)?;
        Ok(Self { address, over, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // It waits for somebody to come, so somebody does.
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(match own {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let came = TcpStream::connect_timeout(&own, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| came) {
            let _its_panic_is_told: std::thread::Result<()> = thread.join();
        }
    }
}

fn accept(socket: &TcpListener, status: &Status, over: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in socket.incoming() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else {
            std::thread::park_timeout(PAUSE);
            continue;
        };
        if limits(&stream).is_err() {
            continue;
        }
        if open.fetch_add(1, Ordering::SeqCst) >= MOST {
            open.fetch_sub(1, Ordering::SeqCst);
            let _gone: io::Result<()> =
                answer(&mut stream, "503 Service Unavailable", "busy\n", true);
            continue;
        }
        let one = One(Arc::clone(&open));
        let status = status.clone();
        // Without a thread, the connection is dropped with its count.
        drop(std::thread::Builder::new().name("watch answer".to_owned()).spawn(move || {
            let _counted = one;
            let _gone: io::Result<()> = serve(&mut stream, &status);
        }));
    }
}

/// One who is being answered.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn limits(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn serve(stream: &mut TcpStream, status: &Status) -> io::Result<()> {
    let Some(head) = head(stream)? else {
        return answer(stream, "431 Request Header Fields Too Large", "too long\n", true);
    };
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (method, target, version, words.next())
    else {
        return answer(stream, "400 Bad Request", "this is no request\n", true);
    };
    let body = method != "HEAD";
    if !matches!(method, "GET" | "HEAD") {
        return answer(stream, "405 Method Not Allowed", "only GET and HEAD\n", true);
    }
    let told = |result: std::result::Result<(), String>| match result {
        Ok(()) => ("200 OK", "ok\n".to_owned()),
        Err(why) => ("503 Service Unavailable", format!("{why}\n")),
    };
    let (code, text) = match target.split('?').next().unwrap_or_default() {
        "/healthz" => told(status.health()),
        "/readyz" => told(status.ready()),
        "/metrics" => ("200 OK", status.metrics()),
        _ => ("404 Not Found", "try /healthz, /readyz or /metrics\n".to_owned()),
    };
    answer(stream, code, &text, body)
}

/// The head of a request; `None` when it is too long.
fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut part = [0_u8; 1_024];
    for _ in 0..MOST_READS {
        match stream.read(&mut part)? {
            0 => break,
            read => bytes.extend_from_slice(&part[..read]),
        }
        if bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
        if bytes.len() > LONGEST {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn answer(stream: &mut TcpStream, code: &str, text: &str, body: bool) -> io::Result<()> {
    let length = text.len();
    let mut whole = format!(
        "HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    );
    if body {
        whole.push_str(text);
    }
    stream.write_all(whole.as_bytes())?;
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn listener() -> (Listener, Status) {
        let status = Status::new(Arc::new(SystemClock));
        (Listener::bind("127.0.0.1:0".parse().unwrap(), status.clone()).unwrap(), status)
    }

    fn asked(listener: &Listener, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may have answered and hung up before all of it was sent.
        let _sent: io::Result<()> = stream.write_all(request);
        let mut answer = Vec::new();
        let _all: io::Result<usize> = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn it_answers_three_questions_and_refuses_all_else() {
        let (listener, status) = listener();
        let get = |path: &str| asked(&listener, format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(get("/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(get("/readyz").starts_with("HTTP/1.1 503 "), "it has read nothing yet");
        status.numbers().problem = None;
        assert!(get("/readyz").ends_with("\r\n\r\nok\n"));
        assert!(get("/metrics?x=1").contains("\nagent_iac_ready 1\n"));
        for (request, code) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/../healthz HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            ("GET /metrics HTTP/2\r\n\r\n", "400"),
            ("\u{16}\u{3}\u{1} tls \r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
        ] {
            let answer = asked(&listener, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{request:?}: {answer}");
        }
        let head = asked(&listener, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn a_request_without_an_end_is_cut_off() {
        let (listener, _) = listener();
        let long = asked(&listener, &vec![b'a'; 40_000]);
        assert!(long.is_empty() || long.starts_with("HTTP/1.1 431 "), "{long}");
        let mut slow = TcpStream::connect(listener.address()).unwrap();
        slow.write_all(b"GET /met").unwrap();
        slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).expect("it hangs up");
        assert_eq!(rest, b"");
    }

    #[test]
    fn those_who_hold_on_keep_nobody_else_out_for_long() {
        let (listener, _) = listener();
        let idle: Vec<TcpStream> =
            (0..MOST).map(|_| TcpStream::connect(listener.address()).unwrap()).collect();
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.push(asked(&listener, b"GET /healthz HTTP/1.1\r\n\r\n"));
            if answers.last().is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let last = answers.pop().unwrap();
        assert!(last.starts_with("HTTP/1.1 200"), "{last}");
        assert!(answers.iter().all(|other| other.is_empty() || other.contains(" 503 ")));
        drop(idle);
    }

    #[test]
    fn it_ends_when_it_is_dropped_and_two_cannot_have_one_address() {
        let (listener, status) = listener();
        let address = listener.address();
        let taken = Listener::bind(address, status.clone()).unwrap_err();
        assert!(taken.message().contains(&address.to_string()), "{taken}");
        drop(listener);
        assert!(Listener::bind(address, status).is_ok(), "it is free again");
    }

    /// What a scraper reads, checked by the rules of the format.
    #[test]
    fn metrics_have_help_and_type_before_each_family_and_bounded_labels() {
        let (_, status) = listener();
        let text = status.metrics();
        let mut known = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.') && name.starts_with("agent_iac_"), "{line}");
                known = Some((name.to_owned(), String::new()));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let (helped, of) = known.as_mut().unwrap();
                assert_eq!(name, helped);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                of.push_str(kind);
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert_eq!(Some(name), known.as_ref().map(|(name, _)| &**name));
                value.parse::<u64>().expect(line);
            }
        }
        assert!(text.ends_with('\n'));
    }
}
