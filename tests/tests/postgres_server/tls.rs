//! TLS: to whom a login is shown, and to whom it is not.

use std::{fs, path::Path, process::Command};

use agent_iac::{
    ErrorKind, Result,
    provider::Tried,
    providers::postgres::server::{About, Endpoint, Prober, Server, Settings, Thread},
    secret::Secret,
};
use agent_iac_tests::{on_each_version, postgres::Cluster};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{principal, server, texts};

on_each_version![
    a_certificate_is_accepted_for_its_name_from_a_trusted_authority_alone,
    a_login_is_bound_to_the_certificate_whatever_signed_it,
    a_server_without_tls_is_refused_where_tls_was_asked_for,
    a_password_is_told_only_to_a_server_that_was_verified_and_where_that_was_said,
];

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .expect("openssl makes the certificates of this test: install it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority and a certificate for `localhost`, by this key and digest.
fn certificates(folder: &Path, key: &str, digest: &str) {
    fs::write(
        folder.join("names"),
        "subjectAltName = DNS:localhost\nbasicConstraints = critical, CA:false\n",
    )
    .unwrap();
    let new = format!("req -x509 -nodes -days 2 -newkey {key} {digest}");
    for authority in ["ca", "other"] {
        let names = format!("-keyout {authority}.key -out {authority}.pem -subj /CN={authority}");
        openssl(folder, &format!("{new} {names}"));
    }
    let names = "-keyout server.key -out server.csr -subj /CN=127.0.0.1";
    openssl(folder, &format!("req -nodes -newkey {key} {names}"));
    let by = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile names";
    openssl(folder, &format!("x509 -req -in server.csr -out server.crt -days 2 {digest} {by}"));
}

/// Gives a running server a certificate: it writes its own files.
async fn equip(cluster: &Cluster, folder: &Path) {
    let admin = cluster.admin().await;
    for file in ["server.key", "server.crt"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let lines: Vec<String> = text.lines().map(|line| format!("('{line}')")).collect();
        // A key that others may read is refused.
        let program = format!("umask 077; cat >{file}");
        let sql = format!("COPY (VALUES {}) TO PROGRAM '{program}'", lines.join(", "));
        admin.run(&sql).await;
    }
    admin.run("ALTER SYSTEM SET ssl = on").await;
    admin.run("SELECT pg_reload_conf()").await;
    while !offers_tls(cluster.port()).await {}
}

/// Asks as a client does before anything else.
async fn offers_tls(port: u16) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).await.unwrap();
    answer == [b'S']
}

fn endpoint(cluster: &Cluster, host: &str, root: &Path) -> Endpoint {
    let root = root.display();
    let port = cluster.port();
    let url = format!("postgresql://{host}:{port}/postgres?sslmode=verify-full&sslrootcert={root}");
    url.parse().unwrap()
}

fn connection(cluster: &Cluster, host: &str, root: &Path) -> Result<Server> {
    let settings =
        Settings::new(endpoint(cluster, host, root), principal("postgres", cluster.password()));
    Server::new(&Thread::start().unwrap(), settings)
}

async fn about(cluster: &Cluster, host: &str, root: &Path) -> Result<About> {
    connection(cluster, host, root)?.about().await
}

async fn a_certificate_is_accepted_for_its_name_from_a_trusted_authority_alone(cluster: &Cluster) {
    let cluster = Cluster::start(cluster.version());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificates(folder, "rsa:2048", "-sha256");
    equip(&cluster, folder).await;
    let ca = folder.join("ca.pem");
    let secure = connection(&cluster, "localhost", &ca).unwrap();
    let sql = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(texts(&secure, sql).await, ["true"]);

    let error = about(&cluster, "127.0.0.1", &ca).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.message().ends_with("certificate is for another name"), "{error}");
    let error = about(&cluster, "localhost", &folder.join("other.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.message().ends_with("authority that is not trusted"), "{error}");
    // A login that nobody was asked about is neither accepted nor refused.
    let prober =
        Prober::new(&Thread::start().unwrap(), endpoint(&cluster, "127.0.0.1", &ca)).unwrap();
    let tried = prober.try_login("postgres", &Secret::from_text("wrong".into()), None).await;
    assert!(matches!(tried, Tried::Unknown(_)), "{tried:?}");

    for (file, text) in [("nothing.pem", None), ("empty.pem", Some("")), ("odd.pem", Some("odd"))] {
        let path = folder.join(file);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = connection(&cluster, "localhost", &path).unwrap_err();
        assert!(error.message().contains(file), "{error}");
    }
}

async fn a_login_is_bound_to_the_certificate_whatever_signed_it(cluster: &Cluster) {
    // With a wrong binding, the server would refuse the login.
    for (key, digest) in [
        ("rsa:2048", "-sha384"),
        ("rsa:2048", "-sha512"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "-sha256"),
        ("ec -pkeyopt ec_paramgen_curve:P-384", "-sha384"),
    ] {
        let cluster = Cluster::start(cluster.version());
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), key, digest);
        equip(&cluster, folder.path()).await;
        let secure = about(&cluster, "localhost", &folder.path().join("ca.pem")).await;
        assert!(secure.is_ok(), "{key} {digest}: {secure:?}");
    }
}

async fn a_server_without_tls_is_refused_where_tls_was_asked_for(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "-sha256");
    let error = about(cluster, "localhost", &folder.path().join("ca.pem")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.message().ends_with("the server offers no TLS"), "{error}");
    let plain = Settings::new(
        format!("postgresql://localhost:{}/postgres", cluster.port()).parse().unwrap(),
        principal("postgres", cluster.password()),
    );
    server(plain).about().await.unwrap();
}

async fn a_password_is_told_only_to_a_server_that_was_verified_and_where_that_was_said(
    cluster: &Cluster,
) {
    let cluster = Cluster::start(cluster.version());
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), "ec -pkeyopt ec_paramgen_curve:P-256", "-sha256");
    let admin = cluster.admin().await;
    for sql in [
        "SET password_encryption = 'md5'; CREATE ROLE digested LOGIN PASSWORD 'p'",
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE told LOGIN PASSWORD 'p'",
        "COPY (VALUES ('host all told 127.0.0.1/32 password'),
            ('host all digested 127.0.0.1/32 md5'),
            ('host all all 127.0.0.1/32 scram-sha-256')) TO PROGRAM 'cat >pg_hba.conf'",
    ] {
        admin.run(sql).await;
    }
    equip(&cluster, folder.path()).await;
    let root = folder.path().join("ca.pem");
    let tls = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let plain = || endpoint_of(&cluster, "sslmode=disable");
    let full = || endpoint_of(&cluster, &tls);
    let open = || endpoint_of(&cluster, &format!("{tls}&require_auth=password"));
    for (user, endpoint, refused) in [
        ("told", plain(), Some("in clear")),
        ("told", full(), Some("in clear")),
        ("told", open(), None),
        ("digested", plain(), Some("by MD5")),
        ("digested", open(), Some("by MD5")),
        ("postgres", open(), None),
    ] {
        let password = if user == "postgres" { cluster.password() } else { "p" };
        let tried = Prober::new(&Thread::start().unwrap(), endpoint.clone()).unwrap();
        let tried = tried.try_login(user, &Secret::from_text(password.into()), None).await;
        let worked = server(Settings::new(endpoint, principal(user, password))).about().await;
        match (refused, worked) {
            (None, worked) => {
                assert!(worked.is_ok(), "{user}: {worked:?}");
                assert_eq!(tried, Tried::Accepted, "{user}");
            }
            (Some(how), worked) => {
                let error = worked.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Denied, "{user}: {error:?}");
                assert!(error.message().contains(how), "{user}: {error}");
                assert!(matches!(&tried, Tried::Unknown(why) if why.contains(how)), "{tried:?}");
            }
        }
    }
}

fn endpoint_of(cluster: &Cluster, query: &str) -> Endpoint {
    format!("postgresql://localhost:{}/postgres?{query}", cluster.port()).parse().unwrap()
}
