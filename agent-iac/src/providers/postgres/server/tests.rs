//! What needs no server: URLs, password files, how a transaction begins, and
//! the reading of certificates.

use std::{fs, path::PathBuf, time::Duration};

use super::{Endpoint, Host, Options, Password, Principal, Server, Settings, Thread, TlsMode, tls};
use crate::{
    clock::block_on,
    error::{Error, ErrorKind, Retry},
    secret::Secret,
};

fn parsed(url: &str) -> Endpoint {
    url.parse().unwrap_or_else(|error| panic!("{url}: {error:?}"))
}

fn refused(url: &str) -> Error {
    match url.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{url} is {endpoint:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_url_says_where_the_server_is() {
    for (url, server, database, user) in [
        ("postgresql://db.example.org/app", "db.example.org:5432", "app", None),
        ("postgres://me@db:6000/app", "db:6000", "app", Some("me")),
        ("postgresql://me%40x@db/a%2Fb%20c", "db:5432", "a/b c", Some("me@x")),
        ("postgresql://[2001:db8::1]:5433/app", "[2001:db8::1]:5433", "app", None),
        ("postgresql:///app?host=/run/pg&port=5433", "/run/pg/.s.PGSQL.5433", "app", None),
        ("postgresql://me@%2Frun%2Fpg/app", "/run/pg/.s.PGSQL.5432", "app", Some("me")),
    ] {
        let endpoint = parsed(url);
        let found = (&*endpoint.server(), endpoint.database(), endpoint.user());
        assert_eq!(found, (server, database, user), "{url}");
    }
    let endpoint = parsed("postgresql://db/app?connect_timeout=3");
    assert_eq!(endpoint.connect_timeout(), Duration::from_secs(3));
    assert_eq!(*endpoint.host(), Host::Tcp("db".into()));
}

#[test]
fn a_server_elsewhere_is_verified_in_full_and_one_here_need_not_be() {
    let full = |root: Option<&str>| TlsMode::VerifyFull { root: root.map(PathBuf::from) };
    for (url, tls) in [
        ("postgresql://db/app", full(None)),
        ("postgresql://db/app?sslmode=verify-full", full(None)),
        ("postgresql://db/app?sslrootcert=system", full(None)),
        ("postgresql://db/app?sslrootcert=%2Fetc%2Fca.pem", full(Some("/etc/ca.pem"))),
        ("postgresql://10.0.0.1/app", full(None)),
        ("postgresql://localhost.example.org/app", full(None)),
        ("postgresql://127.0.0.1/app", TlsMode::Disable),
        ("postgresql://127.9.9.9/app?sslmode=disable", TlsMode::Disable),
        ("postgresql://[::1]/app?sslmode=prefer", TlsMode::Disable),
        ("postgresql://LocalHost/app?sslmode=allow", TlsMode::Disable),
        ("postgresql:///app?host=/run/pg", TlsMode::Disable),
        ("postgresql://localhost/app?sslmode=verify-full", full(None)),
        ("postgresql://localhost/app?sslrootcert=ca.pem", full(Some("ca.pem"))),
    ] {
        assert_eq!(*parsed(url).tls(), tls, "{url}");
    }
}

#[test]
fn a_password_is_told_only_to_a_server_that_was_verified_and_where_that_was_said() {
    for (url, tells) in [
        ("postgresql://db/app", false),
        ("postgresql://db/app?require_auth=scram-sha-256", false),
        ("postgresql://localhost/app?require_auth=scram-sha-256", false),
        ("postgresql://db/app?require_auth=password", true),
        ("postgresql://localhost/app?sslmode=verify-full&require_auth=password", true),
    ] {
        assert_eq!(parsed(url).tells_passwords(), tells, "{url}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let modes = "postgresql://db/app?sslmode=";
    for (url, reason) in [
        ("db/app", "begins with"),
        ("mysql://db/app", "begins with"),
        ("postgresql://db", "names no database"),
        ("postgresql://db/", "names no database"),
        ("postgresql:///app", "names no host"),
        ("postgresql://@db/app", "names no user"),
        ("postgresql://a,b/app", "several hosts"),
        ("postgresql://a:1,b:2/app", "several hosts"),
        ("postgresql:///app?host=a,b", "several hosts"),
        ("postgresql://db/app?host=other", "two hosts"),
        ("postgresql://db:0/app", "from 1 to 65535"),
        ("postgresql://db:65536/app", "from 1 to 65535"),
        ("postgresql://d b/app", "not a name"),
        ("postgresql://[::1/app", "ends with `]`"),
        ("postgresql://[::1]x/app", "comes `:`"),
        ("postgresql://db/a%zz", "not encoded well"),
        ("postgresql://db/a%4", "not encoded well"),
        ("postgresql://db/a%ff", "not encoded well"),
        ("postgresql://db/a%00b", "cannot exist"),
        ("postgresql://db/app#x", "behind `#`"),
        ("postgresql://db/app?options=-c", "`options` is not a parameter"),
        ("postgresql://db/app?x", "has no value"),
        ("postgresql://db/app?port=1&port=2", "`port` is given twice"),
        ("postgresql://db/app?connect_timeout=0", "from 1 to 600"),
        (&format!("{modes}disable"), "in clear"),
        (&format!("{modes}allow"), "in clear"),
        (&format!("{modes}prefer"), "in clear"),
        (&format!("{modes}require"), "does not look"),
        (&format!("{modes}verify-ca"), "any server"),
        (&format!("{modes}full"), "`full` is not an `sslmode`"),
        ("postgresql://localhost/app?sslmode=require", "does not look"),
        ("postgresql://localhost/app?sslmode=disable&sslrootcert=x", "needs `sslmode=verify-full`"),
        ("postgresql:///app?host=/run/pg&sslmode=verify-full", "not encrypted"),
        ("postgresql:///app?host=/run/pg&sslrootcert=x", "not encrypted"),
        ("postgresql://localhost/app?require_auth=password", "whoever listens there"),
        ("postgresql:///app?host=/run/pg&require_auth=password", "whoever listens there"),
        ("postgresql://db/app?require_auth=md5", "`md5` is not a `require_auth`"),
        ("postgresql://db/app?require_auth=password&require_auth=password", "given twice"),
    ] {
        let error = refused(url);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(reason), "{url}: {error}");
    }
    let long = format!("postgresql://db/{}", "x".repeat(64));
    assert!(refused(&long).message().contains("cannot exist"));
}

#[test]
fn a_password_in_a_url_is_refused_and_never_repeated() {
    for url in [
        "postgresql://me:hunter2@db/app",
        "postgresql://:hunter2@db/app",
        "postgresql://me:@db/app",
        "postgresql://me:hunter2@x@db/app",
        "postgresql://me@db/app?password=hunter2",
    ] {
        let error = refused(url);
        assert!(error.message().contains("holds a password"), "{url}: {error}");
        assert!(error.repair().is_some_and(|help| help.contains("file")));
    }
    // In these, it stands where something else should.
    for url in [
        "postgresql://me:hunter2",
        "postgresql://me:hunter2/db",
        "postgresql://me:hun%zzhunter2@db/app",
        "postgresql://me:x/hunter2@db/app",
        "postgresql://me:x?hunter2@db/app",
        "postgresql://me:x#hunter2@db/app",
        "hunter2",
    ] {
        let error = refused(url);
        assert!(!format!("{error:?}").contains("hunter2"), "{url}: {error:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_password_comes_from_a_file_that_only_its_owner_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let read = |text: &[u8], mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Password::file(&path).read()
    };
    for (text, password) in
        [("p\n", "p"), ("p", "p"), ("p\r\n", "p"), (" p ", " p "), ("pä\n", "pä")]
    {
        let found = read(text.as_bytes(), 0o600).unwrap();
        assert!(found.equals(&Secret::from_text(password.into())), "{text:?}");
    }
    for (text, what) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\n\n", "more than one line"),
        (b"a\nhunter2", "more than one line"),
        (b"hunter2\0", "more than one line"),
        (&[b'x'; 5000], "is not a file with a password"),
    ] {
        let error = read(text, 0o600).unwrap_err();
        assert!(error.message().ends_with(what), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    for mode in [0o640, 0o604, 0o660, 0o610] {
        let error = read(b"p", mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{mode:o}");
    }
    let missing = Password::file(folder.path().join("nothing")).read().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let a_folder = Password::file(folder.path()).read().unwrap_err();
    assert_eq!(a_folder.kind(), ErrorKind::Refused);
}

#[test]
fn debug_shows_no_password() {
    let password = Password::given(Secret::from_text("hunter2".into()));
    let principal = Principal::new("me", password).unwrap();
    let settings = Settings::new(parsed("postgresql://localhost/app"), principal.clone());
    assert!(!format!("{principal:?}{settings:?}").contains("hunter2"));
    for user in ["", "a\0b", &"x".repeat(64)] {
        let password = Password::file("x");
        assert!(Principal::new(user, password).is_err(), "{user:?}");
    }
}

#[test]
fn a_transaction_begins_with_everything_that_it_relies_on() {
    let text = Options::writing()
        .lock_timeout(Duration::from_millis(1500))
        .setting("createrole_self_grant", "set, inherit")
        .begin(Some(r#"we"ird"#));
    assert!(text.starts_with("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE, NOT DEFERRABLE;"));
    for part in [
        "SET LOCAL statement_timeout = '60000'",
        "SET LOCAL lock_timeout = '1500'",
        "SET LOCAL idle_in_transaction_session_timeout = '60000'",
        "SET LOCAL createrole_self_grant = 'set, inherit'",
        "SET LOCAL search_path = pg_catalog, pg_temp",
        r#"SET LOCAL ROLE "we""ird""#,
    ] {
        assert!(text.split("; ").any(|one| one == part), "{part} is not in {text}");
    }
    // Nothing outlives the transaction.
    assert!(text.split("; ").skip(1).all(|one| one.starts_with("SET LOCAL ")), "{text}");
    let text = Options::reading().begin(None);
    assert!(text.starts_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"), "{text}");
    assert!(!text.contains("ROLE"), "{text}");
}

#[test]
fn a_thread_carries_work_out_after_its_last_handle_is_gone() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = Thread::start().unwrap();
    {
        let mut work = Box::pin(thread.run(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.send("done").unwrap();
            Ok(())
        }));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(work.as_mut().poll(&mut cx).is_pending());
    }
    drop(thread);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok("done"));
}

#[test]
fn work_needs_no_runtime_of_its_callers() {
    let thread = Thread::start().unwrap();
    assert_eq!(block_on(thread.run(async { Ok(7) })).unwrap(), 7);
    let panics = block_on(thread.run::<()>(async { panic!("the test panics here") }));
    assert_eq!(panics.unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(block_on(thread.run(async { Ok(8) })).unwrap(), 8);
}

/// A certificate's outer form, with a signature by this algorithm.
fn certificate(oid: &[u8]) -> Vec<u8> {
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        let length = u16::try_from(content.len()).unwrap();
        if length < 0x80 {
            der.push(length.to_be_bytes()[1]);
        } else {
            der.push(0x82);
            der.extend(length.to_be_bytes());
        }
        der.extend(content);
        der
    }
    let algorithm = element(0x30, &[element(0x06, oid), element(0x05, &[])].concat());
    let body = [element(0x30, &[7; 500]), algorithm, element(0x03, &[0; 64])].concat();
    element(0x30, &body)
}

#[test]
fn the_binding_is_by_the_hash_of_the_signature() {
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: [u8; 6] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let rsa = |last: u8| [&RSA[..], &[last]].concat();
    let ecdsa = |last: &[u8]| [&ECDSA[..], last].concat();
    for (oid, bytes) in [
        (rsa(0x04), Some(32)),
        (rsa(0x05), Some(32)),
        (rsa(0x0b), Some(32)),
        (rsa(0x0c), Some(48)),
        (rsa(0x0d), Some(64)),
        // RSASSA-PSS names its hash elsewhere.
        (rsa(0x0a), None),
        (ecdsa(&[1]), Some(32)),
        (ecdsa(&[3, 2]), Some(32)),
        (ecdsa(&[3, 3]), Some(48)),
        (ecdsa(&[3, 4]), Some(64)),
        // Ed25519 has none.
        (vec![0x2b, 0x65, 0x70], None),
    ] {
        let digest = tls::end_point(&certificate(&oid));
        assert_eq!(digest.map(|digest| digest.len()), bytes, "{oid:x?}");
    }
}

#[test]
fn a_certificate_that_is_cut_off_binds_nothing() {
    let whole = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);
    assert!(tls::end_point(&whole).is_some());
    for end in 0..whole.len() {
        assert_eq!(tls::end_point(&whole[..end]), None, "{end} bytes");
    }
    for odd in
        [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x80]]
    {
        assert_eq!(tls::end_point(odd), None, "{odd:x?}");
    }
}

/// What a server of a test says to everybody who logs in, after it has let him
/// in and heard one request; `None` is to say nothing at all.
fn impostor(answer: Option<Vec<u8>>) -> Endpoint {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut heard) = (stream.unwrap(), [0; 8192]);
            let Some(answer) = &answer else {
                // Until the other side has had enough.
                while stream.read(&mut heard).is_ok_and(|read| read > 0) {}
                continue;
            };
            assert!(stream.read(&mut heard).unwrap() > 0);
            let let_in = [message(b'R', &[0, 0, 0, 0]), message(b'Z', b"I")].concat();
            stream.write_all(&let_in).unwrap();
            assert!(stream.read(&mut heard).unwrap() > 0);
            stream.write_all(answer).unwrap();
        }
    });
    parsed(&format!("postgresql://127.0.0.1:{port}/app?connect_timeout=1"))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn asked(endpoint: Endpoint) -> Error {
    let password = Password::given(Secret::from_text("p".into()));
    let settings = Settings::new(endpoint, Principal::new("me", password).unwrap());
    let server = Server::new(&Thread::start().unwrap(), settings).unwrap();
    block_on(server.about()).unwrap_err()
}

#[test]
fn a_pooler_that_allows_no_transactions_is_refused_with_the_reason() {
    // What PgBouncer 1.18 answers to BEGIN in that mode.
    let body =
        b"SFATAL\0VFATAL\0C08P01\0Mtransaction blocks not allowed in statement pooling mode\0\0";
    let error = asked(impostor(Some(message(b'E', body))));
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.repair().is_some_and(|help| help.contains("pool_mode")));
}

#[test]
fn what_a_pooler_says_of_its_own_is_told_from_what_a_server_says() {
    for (said, kind, what) in [
        ("SASL authentication failed", ErrorKind::Denied, "refused the login"),
        ("no such user", ErrorKind::Denied, "refused the login"),
        ("server login failed: FATAL x", ErrorKind::Denied, "refused the login"),
        ("no such database: app", ErrorKind::NotFound, "knows no such database"),
        ("no more connections allowed", ErrorKind::Provider, "has no connection left"),
        ("query_wait_timeout", ErrorKind::Provider, "has no connection left"),
        ("client_login_timeout", ErrorKind::Timeout, "gave up waiting"),
    ] {
        let body = format!("SFATAL\0VFATAL\0C08P01\0M{said}\0\0");
        let error = asked(impostor(Some(message(b'E', body.as_bytes()))));
        assert_eq!(error.kind(), kind, "{said}: {error:?}");
        assert!(error.message().contains(&format!("a pooler in between {what}")), "{error:?}");
        assert!(error.repair().is_some(), "{said}");
    }
}

#[test]
fn a_password_is_told_to_nobody_who_asks_for_it() {
    use std::io::{Read as _, Write as _};
    for (code, salt, how) in [(3, &b""[..], "in clear"), (5, b"salt", "by MD5")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 8192]).unwrap() > 0);
            let asked = message(b'R', &[&[0, 0, 0, code], salt].concat());
            stream.write_all(&asked).unwrap();
            let mut told = Vec::new();
            let _: std::io::Result<usize> = stream.read_to_end(&mut told);
            told
        });
        let error = asked(parsed(&format!("postgresql://127.0.0.1:{port}/app")));
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(error.message().contains(how), "{error}");
        assert!(error.repair().is_some_and(|help| help.contains("scram-sha-256")), "{error:?}");
        assert_eq!(heard.join().unwrap(), b"", "{how}");
    }
}

/// The answer to the first question, with this version.
fn greeting(version: &str) -> Vec<u8> {
    let columns = [version, "0", "app", "5", "0", "1", "0"];
    let mut described = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    let mut row = described.clone();
    for column in columns {
        // A name, and then numbers that nobody looks at.
        described.extend(b"c\0");
        described.extend([0; 18]);
        row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
        row.extend(column.bytes());
    }
    let parts = [
        message(b'C', b"BEGIN\0"),
        message(b'T', &described),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"T"),
    ];
    parts.concat()
}

#[test]
fn a_pooler_that_lets_in_and_has_no_server_is_given_up_in_time() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, mut heard) = (listener.accept().unwrap().0, [0; 8192]);
        assert!(stream.read(&mut heard).unwrap() > 0);
        let let_in = [message(b'R', &[0, 0, 0, 0]), message(b'Z', b"I")].concat();
        stream.write_all(&let_in).unwrap();
        while stream.read(&mut heard).is_ok_and(|read| read > 0) {}
    });
    let error = asked(parsed(&format!("postgresql://127.0.0.1:{port}/app?connect_timeout=1")));
    assert!(error.message().ends_with("and then did not answer in time"), "{error:?}");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[test]
fn an_older_version_is_refused_with_its_number() {
    for version in ["140011", "90624"] {
        let error = asked(impostor(Some(greeting(version))));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(error.message().contains(&format!("of version {version}")), "{error}");
    }
}

#[test]
fn what_only_speaks_like_postgresql_is_refused() {
    let nothing = [message(b'C', b"BEGIN\0"), message(b'Z', b"I")].concat();
    let error = asked(impostor(Some(nothing)));
    assert!(error.message().ends_with("it does not say what it is"), "{error:?}");
    let error = asked(impostor(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())));
    assert_eq!(error.retry(), Retry::Backoff, "{error:?}");
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let error = asked(impostor(None));
    assert!(error.message().ends_with("within the time that it was given"), "{error:?}");
    assert_eq!(error.retry(), Retry::Backoff);
    // And one that nobody listens at, at once.
    let error = asked(parsed("postgresql://127.0.0.1:1/app"));
    assert!(error.message().ends_with("cannot be connected to"), "{error:?}");
}
