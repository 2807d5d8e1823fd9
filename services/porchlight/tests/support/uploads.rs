//! Clips in the end-to-end tests: made by ffmpeg, put as a camera puts them, fetched with curl as anybody would.

use std::{path::Path, process::Command};

use porchlight::{
    city::people::{Camera, Resident},
    client::{Answer, MediaFile},
};
use porchlight_domain::{Clock as _, SystemClock, Timestamp};
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::{Scene, event};

/// A second of moving pictures: a real MP4 of its own for each `seed`.
pub fn clip(seed: u32) -> MediaFile {
    let source = format!("testsrc=size=160x120:rate=10:duration=1,hue=h={seed}");
    let args = ["-c:v", "mpeg4", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"];
    MediaFile { kind: "clip", content_type: "video/mp4", bytes: ffmpeg(&source, &args) }
}

/// One picture: a real JPEG.
pub fn thumbnail(seed: u32) -> MediaFile {
    let source = format!("testsrc=size=80x60:rate=1:duration=1,hue=h={seed}");
    let args = ["-frames:v", "1", "-pix_fmt", "yuvj420p", "-f", "mjpeg"];
    MediaFile { kind: "thumbnail", content_type: "image/jpeg", bytes: ffmpeg(&source, &args) }
}

fn ffmpeg(source: &str, args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("out");
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", source])
        .args(args)
        .arg(&out)
        .output()
        .expect("ffmpeg is installed by make setup");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(out).expect("what ffmpeg made")
}

/// Asks for a grant.
pub async fn grant(camera: &Camera, event: Uuid, file: &MediaFile) -> Answer {
    for _ in 0..50 {
        let answer = camera.line.grant(event, file).await.expect("an answer");
        // The table of devices is behind for a moment when a device was just registered.
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("ingest stays unavailable")
}

/// Puts bytes as a grant says, with its headers changed by `change`.
pub async fn put(grant: &Value, bytes: Vec<u8>, change: impl Fn(&mut Vec<(String, String)>)) -> StatusCode {
    let upload = &grant["upload"];
    let mut headers: Vec<(String, String)> = upload["headers"]
        .as_object()
        .expect("headers")
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str().expect("text").to_owned()))
        .collect();
    change(&mut headers);
    let mut request = reqwest::Client::new().put(upload["url"].as_str().expect("a URL"));
    for (name, value) in headers.iter().filter(|(name, _)| name != "content-length") {
        request = request.header(name, value);
    }
    request.body(bytes).send().await.expect("an answer of the store of objects").status()
}

/// Completes an upload.
pub async fn complete(camera: &Camera, grant: &Value) -> Answer {
    camera.line.complete(grant).await.expect("an answer")
}

impl Scene {
    /// The whole way of an upload, and the witness hears of it. The media's id.
    pub async fn store(&mut self, camera: &Camera, event: Uuid, file: &MediaFile) -> Uuid {
        let granted = grant(camera, event, file).await.ok().expect("granted");
        assert_eq!(put(&granted, file.bytes.clone(), |_| {}).await, StatusCode::OK);
        let completed = camera.line.complete(&granted).await.and_then(Answer::ok).expect("completed");
        let received_at: Timestamp = completed["received_at"].as_str().expect("a time").parse().expect("RFC 3339");
        let bytes = u64::try_from(file.bytes.len()).expect("small");
        self.witness.stored(camera.device, event, file.kind, &file.sha256(), bytes, received_at.0);
        granted["media"].as_str().expect("an id").parse().expect("a UUID")
    }

    /// What a resident is answered about a media; judged by the oracle.
    pub async fn ask_media(&self, resident: &Resident, media: Uuid) -> Answer {
        let answer = resident.app.get(&format!("/v1/media/{media}")).await.expect("an answer");
        let shown = answer.status.is_success().then_some(&answer.body);
        let now = porchlight_domain::Clock::now(&porchlight_domain::SystemClock).0;
        let verdict = self.witness.world().judge_media(&resident.subject, media, shown, now);
        assert!(verdict.wrong.is_empty(), "{}: {verdict:?}", resident.subject);
        answer
    }
}

/// Fetches a URL with curl: the status, and the bytes in `dir`.
pub fn curl(url: &str, dir: &Path) -> (u16, Vec<u8>) {
    let out = dir.join("fetched");
    let said = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "%{http_code}", "--output"])
        .arg(&out)
        .arg(url)
        .output()
        .expect("curl is installed by make setup");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let status = String::from_utf8_lossy(&said.stdout).trim().parse().expect("a status");
    (status, std::fs::read(out).unwrap_or_default())
}

/// The id of an event's body.
pub fn id_of(event: &Value) -> Uuid {
    event["id"].as_str().and_then(|s| s.parse().ok()).expect("an id")
}

/// Nobody looks at it: any bytes will do.
fn media(kind: &'static str, n: usize) -> MediaFile {
    let content_type = if kind == "clip" { "video/mp4" } else { "image/jpeg" };
    MediaFile { kind, content_type, bytes: format!("{kind} {n}").into_bytes() }
}

/// What cameras see: items of several revisions, shared and not, with media before and after their events.
pub async fn live(scene: &mut Scene, cameras: &[Camera]) {
    for (n, camera) in cameras.iter().enumerate() {
        for (kind, labels) in [("motion", &["person"][..]), ("motion", &["animal"]), ("ding", &[]), ("motion", &[])] {
            let body = event(kind, labels, SystemClock.now());
            let id = id_of(&body);
            if camera.clips && kind == "ding" {
                scene.store(camera, id, &media("thumbnail", n)).await;
            }
            scene.send(camera, &body).await;
            if camera.clips && labels == ["person"] {
                scene.store(camera, id, &media("clip", n)).await;
            }
        }
    }
}
