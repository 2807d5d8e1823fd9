//! What the vault needs of an S3 server, whichever it is: each file beside this folder tries one. Every case has a prefix
//! of its own in the one bucket, and empties it.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use porchlight_clips::{
    Grant, READ_URL_MS, S3, S3Config, UPLOAD_URL_MS, Upload, Vault, VaultError,
    sweep::{Pace, Record, Records, SHARDS, Swept, walk},
};
use porchlight_domain::{
    Borders, Cleared, Clock as _, ContentHash, ContentType, DeviceId, EventId, Gate, HouseholdId, Media, MediaId,
    MediaKind, NeighborhoodId, NeighborhoodRef, Point, ResidentId, SystemClock, Timestamp, Undecided, Version, Viewer,
    view::MediaView,
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const BYTES: &[u8] = b"not really a film";

fn now() -> Timestamp {
    SystemClock.now()
}

/// The settings of a server, with a prefix that nobody else has.
pub(crate) fn config(
    endpoint: &str,
    bucket: &str,
    region: &str,
    access_key_id: &str,
    secret_access_key: &str,
) -> S3Config {
    S3Config {
        endpoint: endpoint.to_owned(),
        public_endpoint: String::new(),
        region: region.to_owned(),
        bucket: bucket.to_owned(),
        prefix: format!("clips-{}/", Uuid::new_v4()),
        path_style: true,
        access_key_id: access_key_id.to_owned(),
        secret_access_key: secret_access_key.to_owned(),
        secret_access_key_file: PathBuf::new(),
        ca_file: PathBuf::new(),
        timeout_ms: 20_000,
    }
}

/// Makes a test of each case. `$server` gives the settings, and what must live until the case is over.
#[macro_export]
macro_rules! try_all {
    ($server:ident) => {
        $crate::try_all!($server:
            the_granted_bytes_are_taken_and_the_server_knows_their_checksum,
            other_bytes_another_length_or_a_header_that_is_not_sent_are_refused_and_no_object_stays,
            what_is_there_is_not_overwritten,
            an_upload_is_begun_in_its_time_or_not_at_all,
            a_read_url_gives_the_bytes_and_their_type_for_a_minute_and_then_nothing,
            a_secret_that_is_wrong_and_a_bucket_that_is_not_there_are_refused,
            a_server_that_is_away_is_unavailable_within_the_timeout,
            shards_are_listed_page_by_page_in_the_order_of_their_keys,
            a_walk_removes_what_ended_and_what_nothing_names_and_is_taken_up_where_it_stopped,
        );
    };
    ($server:ident: $($case:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $case() {
            let (config, _server) = $server().await;
            vault::$case(config).await;
        }
    )+};
}

/// A vault of this test's own.
struct Own {
    s3: S3,
    config: S3Config,
}

impl Own {
    fn new(config: S3Config) -> Self {
        Self { s3: S3::new(&config).unwrap(), config }
    }

    /// Everything that is there, in the order of the shards.
    async fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for shard in 0..SHARDS {
            names.extend(self.s3.list(shard, "", 1000).await.unwrap().into_iter().map(|object| object.name));
        }
        names
    }

    async fn put(&self, grant: &Grant) {
        let upload = self.s3.upload(grant, now()).await.unwrap();
        assert_eq!(send(&upload, BYTES).await, 200);
    }

    async fn empty(self) {
        for name in self.names().await {
            self.s3.remove(&name).await.unwrap();
        }
        assert_eq!(self.names().await, [""; 0]);
    }
}

/// A grant of `BYTES` whose media's id begins with this digit.
fn grant(digit: u8) -> Grant {
    let any = || Grant {
        device: DeviceId(Uuid::new_v4()),
        event: EventId(Uuid::now_v7()),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: BYTES.len().try_into().unwrap(),
        sha256: ContentHash(Sha256::digest(BYTES).into()),
        expires_at: now().plus_ms(60_000),
    };
    std::iter::repeat_with(any).find(|grant| grant.media().0.as_u128() >> 124 == u128::from(digit)).unwrap()
}

fn key(grant: &Grant) -> MediaId {
    grant.media()
}

/// Puts, as a camera does: the status.
async fn send(upload: &Upload, bytes: &[u8]) -> u16 {
    send_with(upload, bytes, |_, value| Some(value.to_owned())).await
}

/// Puts with headers as `change` leaves them; the length is that of the bytes.
async fn send_with(upload: &Upload, bytes: &[u8], change: impl Fn(&str, &str) -> Option<String>) -> u16 {
    let mut request = reqwest::Client::new().put(&upload.url).body(bytes.to_vec());
    for (name, value) in upload.headers.iter().filter(|(name, _)| name != "content-length") {
        if let Some(value) = change(name, value) {
            request = request.header(name, value);
        }
    }
    request.send().await.unwrap().status().as_u16()
}

struct Nowhere;

impl Borders for Nowhere {
    fn is_known(&self, _: NeighborhoodId) -> bool {
        true
    }
    fn current(&self, _: NeighborhoodId) -> Option<Version> {
        None
    }
    fn holds(&self, _: NeighborhoodRef, _: Point) -> Result<bool, Undecided> {
        Ok(false)
    }
}

/// What was granted, as its household may see it.
fn cleared(grant: &Grant) -> Cleared<MediaView> {
    let household = HouseholdId(Uuid::from_u128(1));
    let media = Media {
        id: grant.media(),
        device: grant.device,
        event: grant.event,
        household,
        kind: grant.kind,
        content_type: grant.content_type,
        bytes: grant.bytes,
        sha256: grant.sha256,
        retention_days: 30,
        received_at: now(),
    };
    let viewer = Viewer { resident: ResidentId(Uuid::from_u128(3)), household, residences: Vec::new() };
    Gate(&Nowhere).media(&viewer, &media, None).unwrap().unwrap()
}

pub(crate) async fn the_granted_bytes_are_taken_and_the_server_knows_their_checksum(config: S3Config) {
    let own = Own::new(config);
    let grant = grant(3);
    assert_eq!(own.s3.stat(key(&grant)).await.unwrap(), None);
    own.put(&grant).await;
    let stat = own.s3.stat(key(&grant)).await.unwrap().unwrap();
    assert_eq!((stat.bytes, stat.sha256), (grant.bytes, Some(grant.sha256)));
    assert_eq!(own.names().await, [format!("{}media/{}", own.config.prefix, grant.media())]);
    own.s3.remove_media(key(&grant)).await.unwrap();
    assert_eq!(own.s3.stat(key(&grant)).await.unwrap(), None);
    own.s3.remove_media(key(&grant)).await.unwrap();
    own.empty().await;
}

pub(crate) async fn other_bytes_another_length_or_a_header_that_is_not_sent_are_refused_and_no_object_stays(
    config: S3Config,
) {
    let own = Own::new(config);
    let grant = grant(3);
    let upload = own.s3.upload(&grant, now()).await.unwrap();
    let mut wrong = BYTES.to_vec();
    wrong[0] ^= 1;
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let without = |left_out: &'static str| move |name: &str, value: &str| (name != left_out).then(|| value.to_owned());

    assert_eq!(send(&upload, &wrong).await, 400, "wrong bytes of the same length");
    assert_eq!(send(&upload, &BYTES[1..]).await, 403, "shorter");
    assert_eq!(send(&upload, &[BYTES, b"!"].concat()).await, 403, "longer");
    for header in ["x-amz-checksum-sha256", "if-none-match", "content-type"] {
        assert_eq!(send_with(&upload, BYTES, without(header)).await, 403, "without {header}");
    }
    let changed = |of: &'static str, to: &'static str| {
        move |name: &str, value: &str| Some(if name == of { to.to_owned() } else { value.to_owned() })
    };
    assert_eq!(send_with(&upload, BYTES, changed("x-amz-checksum-sha256", other)).await, 403, "another checksum");
    assert_eq!(send_with(&upload, BYTES, changed("content-type", "text/html")).await, 403, "another type");
    assert_eq!(own.s3.stat(key(&grant)).await.unwrap(), None);
    assert_eq!(own.names().await, [""; 0]);

    assert_eq!(send(&upload, BYTES).await, 200, "the URL is still good for what was granted");
    own.empty().await;
}

pub(crate) async fn what_is_there_is_not_overwritten(config: S3Config) {
    let own = Own::new(config);
    let grant = grant(3);
    let upload = own.s3.upload(&grant, now()).await.unwrap();
    assert_eq!(send(&upload, BYTES).await, 200);
    assert_eq!(send(&upload, BYTES).await, 412);
    let without = |name: &str, value: &str| (name != "if-none-match").then(|| value.to_owned());
    assert_eq!(send_with(&upload, BYTES, without).await, 403);
    assert_eq!(own.s3.stat(key(&grant)).await.unwrap().unwrap().sha256, Some(grant.sha256));
    own.empty().await;
}

pub(crate) async fn an_upload_is_begun_in_its_time_or_not_at_all(config: S3Config) {
    let own = Own::new(config);
    let grant = grant(3);
    let late = own.s3.upload(&grant, now().plus_ms(-UPLOAD_URL_MS - 60_000)).await.unwrap();
    assert_eq!(send(&late, BYTES).await, 403);
    assert_eq!(own.names().await, [""; 0]);
    let last = own.s3.upload(&grant, now().plus_ms(-UPLOAD_URL_MS + 30_000)).await.unwrap();
    assert_eq!(send(&last, BYTES).await, 200);
    own.empty().await;
}

pub(crate) async fn a_read_url_gives_the_bytes_and_their_type_for_a_minute_and_then_nothing(config: S3Config) {
    let own = Own::new(config);
    let grant = grant(3);
    own.put(&grant).await;
    let media = cleared(&grant);

    let (url, ends) = own.s3.read_url(&media, now()).await.unwrap();
    assert!(ends <= now().plus_ms(READ_URL_MS));
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    assert_eq!(answer.headers()["cache-control"], "private, max-age=60");
    assert_eq!(answer.bytes().await.unwrap(), BYTES);

    let ranged = reqwest::Client::new().get(&url).header("range", "bytes=4-9").send().await.unwrap();
    assert_eq!((ranged.status().as_u16(), ranged.bytes().await.unwrap().as_ref()), (206, &BYTES[4..10]));
    assert_eq!(reqwest::Client::new().put(&url).body("x").send().await.unwrap().status(), 403, "it only reads");
    let other = url.replace(&grant.media().to_string(), &Uuid::new_v4().to_string());
    assert_eq!(reqwest::get(other).await.unwrap().status(), 403, "it reads nothing else");
    let unsigned = url.split_once('?').unwrap().0;
    assert_eq!(reqwest::get(unsigned).await.unwrap().status(), 403, "nobody reads without a URL of ours");

    let (last, _) = own.s3.read_url(&media, now().plus_ms(-READ_URL_MS + 15_000)).await.unwrap();
    assert_eq!(reqwest::get(last).await.unwrap().status(), 200);
    let (expired, ended) = own.s3.read_url(&media, now().plus_ms(-READ_URL_MS - 1_000)).await.unwrap();
    assert!(ended < now());
    assert_eq!(reqwest::get(expired).await.unwrap().status(), 403);
    own.empty().await;
}

pub(crate) async fn a_secret_that_is_wrong_and_a_bucket_that_is_not_there_are_refused(config: S3Config) {
    let own = Own::new(config);
    own.s3.ping().await.unwrap();
    let grant = grant(3);
    let wrong = S3::new(&S3Config { secret_access_key: "wrong".into(), ..own.config.clone() }).unwrap();
    let refused = |answer: Result<(), VaultError>| match answer {
        Err(VaultError::Refused(why)) => assert!(!why.contains("127.0.0.1") && !why.contains("wrong"), "{why}"),
        other => panic!("{other:?}"),
    };
    refused(wrong.ping().await);
    refused(wrong.stat(key(&grant)).await.map(|_| ()));
    refused(wrong.list(0, "", 10).await.map(|_| ()));
    refused(wrong.remove_media(key(&grant)).await);
    let upload = wrong.upload(&grant, now()).await.unwrap();
    assert_eq!(send(&upload, BYTES).await, 403);

    let nowhere = S3::new(&S3Config { bucket: format!("b{}", Uuid::new_v4()), ..own.config.clone() }).unwrap();
    refused(nowhere.ping().await);
    refused(nowhere.list(0, "", 10).await.map(|_| ()));
    own.empty().await;
}

pub(crate) async fn a_server_that_is_away_is_unavailable_within_the_timeout(config: S3Config) {
    // One that takes the connection and says nothing, and one that takes none.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let closed = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), closed] {
        let config = S3Config { endpoint: format!("http://{address}"), timeout_ms: 500, ..config.clone() };
        let s3 = S3::new(&config).unwrap();
        let began = Instant::now();
        let answer = s3.stat(key(&grant(3))).await;
        assert!(matches!(answer, Err(VaultError::Unavailable(_))), "{answer:?}");
        assert!(matches!(s3.ping().await, Err(VaultError::Unavailable(_))));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

pub(crate) async fn shards_are_listed_page_by_page_in_the_order_of_their_keys(config: S3Config) {
    let own = Own::new(config);
    let mut grants: Vec<Grant> = [0, 0, 0, 0, 0, 10, 15].into_iter().map(grant).collect();
    for grant in &grants {
        own.put(grant).await;
    }
    grants.sort_by_key(|grant| grant.media().to_string());
    for (shard, expected) in [(0, &grants[..5]), (10, &grants[5..6]), (15, &grants[6..]), (1, &[])] {
        let (mut after, mut found) = (String::new(), Vec::new());
        loop {
            let page = own.s3.list(shard, &after, 2).await.unwrap();
            assert!(page.len() <= 2);
            let Some(last) = page.last() else { break };
            after.clone_from(&last.name);
            found.extend(page);
        }
        assert!(found.is_sorted_by(|a, b| a.name < b.name));
        let keys: Vec<Option<MediaId>> = found.iter().map(|object| object.media).collect();
        assert_eq!(keys, expected.iter().map(|grant| Some(key(grant))).collect::<Vec<_>>());
        for object in found {
            assert_eq!(object.bytes, grants[0].bytes);
            assert!(now().since(object.put_at).abs() < 60_000, "{:?}", object.put_at);
        }
    }
    own.empty().await;
}

/// Rows in memory; the cursor of one shard.
#[derive(Default)]
struct Rows {
    ends: BTreeMap<MediaId, Timestamp>,
    cursor: Mutex<String>,
    pages: Mutex<u32>,
    stop: CancellationToken,
}

#[async_trait]
impl Records for Rows {
    async fn of(&self, objects: &[MediaId]) -> Result<Vec<Record>, String> {
        let row = |key: &MediaId| self.ends.get(key).copied();
        let record = |ends| Record::Until { ends, shortened: false };
        Ok(objects.iter().map(|key| row(key).map_or(Record::Absent, record)).collect())
    }
    async fn shorten(&self, _: MediaId, _: Timestamp) -> Result<(), String> {
        unreachable!()
    }
    async fn take(&self, _: u8) -> Result<Option<String>, String> {
        Ok(Some(self.cursor.lock().unwrap().clone()))
    }
    async fn keep(&self, _: u8, cursor: &str, _: bool) -> Result<bool, String> {
        cursor.clone_into(&mut self.cursor.lock().unwrap());
        *self.pages.lock().unwrap() += 1;
        self.stop.cancel();
        Ok(true)
    }
}

pub(crate) async fn a_walk_removes_what_ended_and_what_nothing_names_and_is_taken_up_where_it_stopped(
    config: S3Config,
) {
    let own = Own::new(config);
    let grants: Vec<Grant> = (0..7).map(|_| grant(5)).collect();
    for grant in &grants {
        own.put(grant).await;
    }
    let other = grant(6);
    own.put(&other).await;
    let (ended, kept) = (&grants[..3], &grants[3..5]);
    let ends = |grant: &Grant, ms| (grant.media(), now().plus_ms(ms));
    let rows = ended.iter().map(|grant| ends(grant, -1)).chain(kept.iter().map(|grant| ends(grant, 3_600_000)));
    let rows = Rows { ends: rows.collect(), ..Rows::default() };

    let vault: Arc<dyn Vault> = Arc::new(own.s3.clone());
    let rate = NonZeroU32::new(10_000).unwrap();
    // As if everything had been put an hour ago.
    let pace = Pace { orphan_after_ms: 1_800_000, objects_per_s: rate, page: 3 };
    let later = || now().plus_ms(3_599_000);
    let first = walk(5, &vault, &rows, pace, &later, &rows.stop).await.unwrap().unwrap();
    assert_eq!((first.judged, *rows.pages.lock().unwrap()), (3, 1));
    let rest = walk(5, &vault, &rows, pace, &later, &CancellationToken::new()).await.unwrap().unwrap();
    let sum = Swept {
        judged: first.judged + rest.judged,
        ended: first.ended + rest.ended,
        orphans: first.orphans + rest.orphans,
        unknown: first.unknown + rest.unknown,
    };
    assert_eq!(sum, Swept { judged: 7, ended: 3, orphans: 2, unknown: 0 });

    let mut left: Vec<String> = kept.iter().chain([&other]).map(|grant| grant.media().to_string()).collect();
    let mut names: Vec<String> =
        own.names().await.into_iter().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect();
    left.sort();
    names.sort();
    assert_eq!(names, left);
    own.empty().await;
}
