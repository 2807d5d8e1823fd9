//! The embedded S3 server from outside. What `libs/clips` needs of it, its own tests try (`embedded_s3.rs` there).
#![allow(clippy::unwrap_used)]

mod signed;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all, stream};
use porchlight_standins::s3::{Credentials, EmbeddedS3};
use signed::{Client, encode, files, sha256, start, tags};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// Those of a folder that holds no object.
const OWN: [&str; 2] = ["credentials.json", "lock"];

/// How many objects there are, and that nothing else is there.
fn objects(folder: &Path) -> usize {
    let mut files = files(folder);
    files.retain(|file| !OWN.contains(&&**file));
    for file in &files {
        let name = file.strip_prefix("buckets/porchlight/").unwrap_or_else(|| panic!("{file} is no object"));
        assert!(name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
    files.len()
}

#[tokio::test]
async fn wrong_bytes_of_the_same_length_leave_nothing_and_touch_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    let (right, wrong) = (b"the right bytes", b"the wrong bytes");
    let headers = [("x-amz-checksum-sha256", &*sha256(right))];
    let refused = client.send("PUT", "a", &[], &headers, wrong).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(tags(&refused.text().await.unwrap(), "Code"), ["BadDigest"]);
    assert_eq!((client.get("a").await, objects(dir.path())), (None, 0));

    assert_eq!(client.put("a", right).await, 200);
    assert_eq!(client.send("PUT", "a", &[], &headers, wrong).await.status(), 400);
    assert_eq!((client.get("a").await.as_deref(), objects(dir.path())), (Some(&right[..]), 1));
    assert_eq!(client.put("a", b"others, with their own checksum").await, 200);
    assert_eq!((client.get("a").await.unwrap().len(), objects(dir.path())), (31, 1));
}

#[tokio::test]
async fn a_body_that_is_cut_off_leaves_nothing_and_is_seen_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    client.put("old", b"as it was").await;
    for key in ["new", "old"] {
        let mut stream = TcpStream::connect(client.address()).await.unwrap();
        let (target, host) = (client.target("PUT", key, &[], &[]), client.address());
        let head = format!("PUT {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2000000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[7; 1_000_000]).await.unwrap();
        let uploads = dir.path().join("uploads");
        let on_its_way = || files(&uploads).len();
        until(|| on_its_way() == 1).await;
        assert_eq!((client.get("new").await, client.get("old").await.unwrap()), (None, b"as it was".to_vec()));
        assert_eq!(client.list(&[]).await.0, ["old"]);
        drop(stream);
        until(|| on_its_way() == 0).await;
        assert_eq!((client.get("new").await, client.get("old").await.unwrap()), (None, b"as it was".to_vec()));
        assert_eq!(objects(dir.path()), 1);
    }
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to be in thirty seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_puts_at_once_where_nothing_may_be_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    for round in 0..20 {
        let key = format!("key {round}");
        let bodies: Vec<String> = (0..6).map(|n| format!("{n}").repeat(10_000 + n)).collect();
        let new = [("if-none-match", "*")];
        let puts = bodies.iter().map(|body| client.send("PUT", &key, &[], &new, body.as_bytes()));
        let said: Vec<u16> = join_all(puts).await.iter().map(|answer| answer.status().as_u16()).collect();
        assert_eq!(said.iter().filter(|status| **status == 200).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|status| **status == 412).count(), 5, "{said:?}");
        let winner = said.iter().position(|status| *status == 200).unwrap();
        assert_eq!(client.get(&key).await.unwrap(), bodies[winner].as_bytes());
    }
    assert_eq!(objects(dir.path()), 20);
}

#[tokio::test]
async fn no_key_leaves_the_folder_and_each_is_its_own() {
    let (dir, long, longer) = (tempfile::tempdir().unwrap(), "é".repeat(512), "a".repeat(1025));
    let inside = dir.path().join("inside");
    let (_server, client) = start(&inside).await;
    let mut keys = vec![
        "../../evil",
        "../evil",
        "..",
        ".",
        "./a",
        "a/../b",
        "/etc/passwd",
        "//",
        "a//b",
        "a/",
        "a",
        "A",
        "%2e%2e/x",
        "..%2f..%2fx",
        "..\\..\\x",
        "C:\\x",
        "é",
        "e\u{301}",
        "ключ/日本",
        " ",
        "+",
        "a?b#c&d=e",
        "<key>&amp;",
        "*",
        "credentials.json",
        "../../credentials.json",
        "../../uploads/x",
        "~",
        &long,
        &longer[..1024],
    ];
    for key in &keys {
        let target = client.target("PUT", key, &[], &[]);
        let length = format!("content-length: {}\r\n", key.len());
        let (status, said) = client.raw("PUT", &target, &length, key.as_bytes()).await;
        assert_eq!(status, 200, "{key}: {said}");
    }
    for key in ["a\0b", "a\nb", "\u{7f}", &longer] {
        let target = client.target("PUT", key, &[], &[]);
        let (status, said) = client.raw("PUT", &target, "content-length: 0\r\n", b"").await;
        assert_eq!(status, 400, "{key}: {said}");
    }
    for key in &keys {
        let (status, said) = client.raw("GET", &client.target("GET", key, &[], &[]), "", b"").await;
        assert!(status == 200 && said.ends_with(&format!("\r\n\r\n{key}")), "{key}: {said}");
    }
    keys.sort_unstable();
    assert_eq!(client.list(&[]).await.0, keys.iter().map(|key| encode(key, "/")).collect::<Vec<_>>());
    assert_eq!(objects(&inside), keys.len());
    assert!(files(dir.path()).iter().all(|file| file.starts_with("inside/")), "{:?}", files(dir.path()));

    for key in &keys {
        let (status, said) = client.raw("DELETE", &client.target("DELETE", key, &[], &[]), "", b"").await;
        assert_eq!(status, 204, "{key}: {said}");
    }
    assert_eq!((objects(&inside), client.list(&[]).await.0.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_without_a_signature_that_holds_now_for_this_very_request() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    client.put("a", b"a secret").await;
    let code = |said: &str| tags(said, "Code").concat();
    for (method, target) in [
        ("GET", "/porchlight/a"),
        ("GET", "/porchlight/never"),
        ("GET", "/porchlight?list-type=2"),
        ("GET", "/never"),
        ("GET", "/"),
        ("PUT", "/porchlight/a"),
        ("DELETE", "/porchlight/a"),
        ("POST", "/porchlight?delete"),
        ("PUT", "/another"),
    ] {
        let (status, said) = client.raw(method, target, "content-length: 0\r\n", b"").await;
        assert_eq!((status, &*code(&said)), (403, "AccessDenied"), "{method} {target}: {said}");
    }
    assert_eq!(client.raw("HEAD", "/porchlight/a", "", b"").await.0, 403);

    let target = client.target("GET", "a", &[], &[]);
    assert_eq!(client.raw("GET", &target, "", b"").await.0, 200);
    let altered = [
        target.replace("/a?", "/b?"),
        target.replace("Expires=60", "Expires=61"),
        format!("{target}&response-cache-control=public"),
        target.replace("X-Amz-Date=2", "X-Amz-Date=1"),
        format!("{}{}", &target[..target.len() - 4], if target.ends_with("0000") { "0001" } else { "0000" }),
    ];
    for altered in &altered {
        assert_eq!(client.raw("GET", altered, "", b"").await.0, 403, "{altered}");
    }
    for method in ["PUT", "DELETE", "HEAD"] {
        assert_eq!(client.raw(method, &target, "content-length: 0\r\n", b"").await.0, 403, "{method}");
    }
    let at = |seconds: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let expired = client.target_at(at(-62), "GET", "a", &[], &[]);
    let (status, said) = client.raw("GET", &expired, "", b"").await;
    assert_eq!((status, &*code(&said)), (403, "AccessDenied"), "{said}");
    assert_eq!(client.raw("GET", &client.target_at(at(-20), "GET", "a", &[], &[]), "", b"").await.0, 200);
    assert_eq!(client.raw("GET", &client.target_at(at(3600), "GET", "a", &[], &[]), "", b"").await.0, 403);

    let mut wrong = client.clone();
    wrong.server.secret_access_key.push('x');
    assert_eq!(wrong.send("GET", "a", &[], &[], b"").await.status(), 403);
    assert_eq!(wrong.server.send("GET", "a", b"").unwrap().0, 403);
    let mut unknown = client.clone();
    unknown.server.access_key_id.push('x');
    assert_eq!(unknown.send("GET", "a", &[], &[], b"").await.status(), 403);
    assert_eq!(client.server.send("GET", "a", b"").unwrap(), (200, b"a secret".to_vec()));
    assert_eq!(client.get("a").await.unwrap(), b"a secret");
}

#[tokio::test]
async fn what_is_not_known_is_refused_and_so_is_what_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    client.put("a", b"1").await;
    let asked = [
        ("POST", "b", "uploads", ("x", "")),
        ("GET", "a", "acl", ("x", "")),
        ("GET", "a", "tagging", ("x", "")),
        ("GET", "", "versions", ("x", "")),
        ("DELETE", "", "", ("x", "")),
        ("PUT", "b", "", ("x-amz-copy-source", "/porchlight/a")),
        ("PUT", "b", "", ("content-md5", "xMpCOKC5I4INzFCab3WEmw==")),
        ("PUT", "b", "", ("x-amz-checksum-crc32", "g9zvtw==")),
        ("PUT", "b", "", ("x-amz-server-side-encryption", "AES256")),
        ("PUT", "b", "", ("if-match", "\"x\"")),
        ("GET", "a", "versionId", ("x", "")),
        ("POST", "", "", ("content-type", "multipart/form-data; boundary=x")),
        ("GET", "a", "Signature", ("x", "")),
    ];
    for (method, key, query, header) in asked {
        let query: Vec<_> = [(query, "1")].into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let answer = client.send(method, key, &query, &[header], b"1").await;
        let (status, said) = (answer.status(), answer.text().await.unwrap());
        assert_eq!((status.as_u16(), &*tags(&said, "Code").concat()), (501, "NotImplemented"), "{query:?} {header:?}");
    }
    let target = client.target("PUT", "b", &[], &[]);
    let (status, said) = client.raw("PUT", &target, "content-length: 68157441\r\n", b"").await;
    assert_eq!((status, tags(&said, "Code").concat()), (400, "EntityTooLarge".to_owned()));
    let (status, said) = client.raw("PUT", &target, "transfer-encoding: chunked\r\n", b"1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!((status, tags(&said, "Code").concat()), (411, "MissingContentLength".to_owned()));
    assert_eq!(objects(dir.path()), 1);
}

#[tokio::test]
async fn any_range_of_an_object_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert_eq!(client.put("a", &bytes).await, 200);
    assert_eq!(client.get("a").await.unwrap(), bytes);
    let last = bytes.len() - 1;
    for (range, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=4-9", 4, 9),
        ("bytes=262140-800000", 262_140, 800_000),
        ("bytes=999999-", 999_999, last),
        ("bytes=-3", last - 2, last),
        ("bytes=5-99999999", 5, last),
        ("bytes=-99999999", 0, last),
    ] {
        let answer = client.send("GET", "a", &[], &[("range", range)], b"").await;
        let told = format!("bytes {from}-{to}/{}", bytes.len());
        assert_eq!((answer.status().as_u16(), answer.headers()["content-range"].to_str().unwrap()), (206, &*told));
        assert_eq!(answer.content_length(), Some((to - from + 1) as u64));
        assert!(answer.bytes().await.unwrap() == bytes[from..=to], "{range}");
    }
    assert_eq!(client.put("empty", b"").await, 200);
    for (key, range) in [("a", "bytes=1000003-"), ("a", "bytes=-0"), ("empty", "bytes=0-"), ("empty", "bytes=-1")] {
        assert_eq!(client.send("GET", key, &[], &[("range", range)], b"").await.status(), 416, "{key} {range}");
    }
    assert_eq!(client.get("empty").await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_a_page_holds_are_listed_and_removed_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    let mut keys: Vec<String> = (0..2_500).map(|n| format!("{}/{n}", n % 7)).collect();
    let puts = stream::iter(&keys).map(|key| client.put(key, key.as_bytes())).buffer_unordered(32);
    assert!(puts.all(|status| async move { status == 200 }).await);
    keys.sort();
    assert_eq!(client.list(&[]).await, (keys.clone(), Vec::new(), 3));
    assert_eq!(client.list(&[("max-keys", "5000")]).await.2, 3);
    let (found, _, pages) = client.list(&[("max-keys", "100"), ("start-after", &keys[49])]).await;
    assert_eq!((&found[..], pages), (&keys[50..], 25));
    let (found, prefixes, pages) = client.list(&[("prefix", "3/"), ("max-keys", "100")]).await;
    assert!(found.iter().all(|key| key.starts_with("3/")) && prefixes.is_empty());
    assert_eq!((found.len(), pages), (357, 4));
    let folders: Vec<String> = (0..7).map(|n| format!("{n}/")).collect();
    assert_eq!(client.list(&[("delimiter", "/"), ("max-keys", "3")]).await, (Vec::new(), folders, 3));
    let wrong = client.send("GET", "", &[("list-type", "2"), ("continuation-token", "~")], &[], b"").await;
    assert_eq!(wrong.status(), 400);

    for (n, page) in keys.chunks(1000).enumerate() {
        let objects: String = page.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
        let body = format!("<Delete><Quiet>{}</Quiet>{objects}<Object><Key>never</Key></Object></Delete>", n == 0);
        let body = body.replacen("<Object><Key>never</Key></Object>", "", usize::from(page.len() == 1000));
        let answer = client.send("POST", "", &[("delete", "")], &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 200);
        let told = tags(&answer.text().await.unwrap(), "Deleted").len();
        assert_eq!(told, [0, 1000, 501][n]);
    }
    assert_eq!((client.list(&[]).await.0.len(), objects(dir.path())), (0, 0));
}

#[tokio::test]
async fn a_page_of_any_origin_reads_what_it_has_a_url_for_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    client.put("a", b"1").await;
    let allowed = |said: &str| said.to_lowercase().contains("access-control-allow-origin: *");
    let origin = "origin: https://app.example.org\r\n";
    let (status, said) = client.raw("GET", &client.target("GET", "a", &[], &[]), origin, b"").await;
    assert!(status == 200 && allowed(&said), "{said}");
    let (status, said) = client.raw("GET", "/porchlight/a", origin, b"").await;
    assert!(status == 403 && allowed(&said), "a script may know why: {said}");
    let asked = format!("{origin}access-control-request-method: GET\r\naccess-control-request-headers: range\r\n");
    let (status, said) = client.raw("OPTIONS", "/porchlight/a", &asked, b"").await;
    assert!(status == 204 && allowed(&said) && said.contains("GET, HEAD") && !said.contains("PUT"), "{said}");
    let put = client.raw("PUT", &client.target("PUT", "b", &[], &[]), "content-length: 0\r\n", b"").await;
    assert!(put.0 == 200 && !allowed(&put.1), "{}", put.1);
}

#[tokio::test]
async fn what_was_put_is_there_with_all_that_was_said_of_it_when_the_server_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = start(dir.path()).await;
    let said =
        [("content-type", "video/mp4"), ("cache-control", "private, max-age=7"), ("x-amz-meta-camera", "éèç 門")];
    assert_eq!(client.send("PUT", "a", &[], &said, b"film").await.status(), 200);
    let head = |client: Client| async move {
        let answer = client.send("HEAD", "a", &[], &[("x-amz-checksum-mode", "ENABLED")], b"").await;
        let mut headers = answer.headers().clone();
        headers.remove("date");
        (answer.status().as_u16(), headers)
    };
    let (status, headers) = head(client.clone()).await;
    assert_eq!(status, 200);
    for (name, value) in [said[0], said[1], ("content-length", "4"), ("x-amz-checksum-sha256", &sha256(b"film"))] {
        assert_eq!(headers[name], value, "{name}");
    }
    let etag = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(client.send("GET", "a", &[], &[("if-none-match", &etag)], b"").await.status(), 304);
    assert_eq!(client.send("GET", "a", &[], &[("if-match", "\"x\"")], b"").await.status(), 412);
    server.stop().await;

    let (again, client) = start(dir.path()).await;
    assert_eq!(head(client.clone()).await, (200, headers));
    assert_eq!(client.get("a").await.unwrap(), b"film");
    let key = Credentials { access_key_id: "given".into(), secret_access_key: "by the caller".into() };
    drop(again);
    let given = EmbeddedS3::start(dir.path(), ([127, 0, 0, 1], 0).into(), Some(key)).await.unwrap();
    assert_eq!(Client::of(given.server()).get("a").await.unwrap(), b"film");
    let mut old = client.clone();
    old.server.endpoint = given.endpoint().to_owned();
    assert_eq!(old.send("GET", "a", &[], &[], b"").await.status(), 403);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_that_opens_anything_is_logged_and_no_refusal_is_an_error() {
    let lines = Lines::default();
    let writer = lines.clone();
    let all =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _all = tracing::subscriber::set_default(all);
    tracing::info!("the log is read");
    let dir = tempfile::tempdir().unwrap();
    let (_server, client) = start(dir.path()).await;
    assert_eq!(client.put("a key of mine", b"1").await, 200);
    assert_eq!(client.send("PUT", "a key of mine", &[], &[("if-none-match", "*")], b"1").await.status(), 412);
    assert_eq!(client.get("never").await, None);
    let target = client.target("GET", "a key of mine", &[], &[]);
    assert_eq!(client.raw("GET", &format!("{target}0"), "", b"").await.0, 400);
    assert_eq!(client.raw("GET", "/porchlight/a", "", b"").await.0, 403);
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("the log is read"));
    // The client's own lines name what it asks.
    let server: Vec<&str> = said.lines().filter(|line| !line.contains("reqwest") && !line.contains("hyper")).collect();
    for word in ["Signature", "mine", &client.server.secret_access_key, "ERROR", "WARN"] {
        assert!(server.iter().all(|line| !line.contains(word)), "{word}: {server:#?}");
    }
}
