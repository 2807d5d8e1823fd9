#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use porchlight_domain::{ContentType, DeviceId, EventId, MediaKind};
use uuid::Uuid;

use super::*;
use crate::config::tests::example;

const NOW: Timestamp = Timestamp(1_780_000_000_789);

fn grant() -> Grant {
    Grant {
        device: DeviceId(Uuid::from_u128(1)),
        event: EventId(Uuid::from_u128(2)),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 1_234_567,
        sha256: ContentHash([9; 32]),
        expires_at: NOW,
    }
}

fn query(url: &str) -> BTreeMap<&str, &str> {
    url.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

#[tokio::test]
async fn an_upload_binds_length_type_checksum_and_that_nothing_is_there() {
    let upload = S3::new(&example()).unwrap().upload(&grant(), NOW).await.unwrap();
    let query = query(&upload.url);
    assert_eq!(
        query["X-Amz-SignedHeaders"],
        "content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256"
    );
    let mut headers = upload.headers.clone();
    headers.sort();
    let expected = [
        ("content-length", "1234567"),
        ("content-type", "video/mp4"),
        ("if-none-match", "*"),
        ("x-amz-checksum-sha256", "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "these and no more");
}

#[tokio::test]
async fn a_url_begins_with_the_second_that_it_is_given_in_and_says_when_it_ends() {
    let s3 = S3::new(&example()).unwrap();
    let upload = s3.upload(&grant(), NOW).await.unwrap();
    let query = query(&upload.url);
    assert_eq!((query["X-Amz-Date"], query["X-Amz-Expires"]), ("20260528T202640Z", "300"));
    assert_eq!(upload.expires_at, Timestamp(1_780_000_300_000));
    assert!(upload.expires_at <= NOW.plus_ms(UPLOAD_URL_MS));
    assert!(s3.upload(&grant(), Timestamp(-1)).await.is_err());
}

#[tokio::test]
async fn a_url_names_the_public_endpoint_and_no_secret() {
    let key = format!("one/media/{}?", grant().media());
    for (public, path_style, begin) in [
        ("https://clips.example.org", true, "https://clips.example.org/porchlight/"),
        ("https://clips.example.org/", false, "https://porchlight.clips.example.org/"),
        ("", true, "http://127.0.0.1:9/porchlight/"),
    ] {
        let config = S3Config { public_endpoint: public.into(), path_style, ..example() };
        let url = S3::new(&config).unwrap().upload(&grant(), NOW).await.unwrap().url;
        assert!(url.starts_with(&format!("{begin}{key}")), "{url}");
        assert!(!url.contains("wJalr"), "{url}");
    }
}

#[tokio::test]
async fn an_upload_is_not_shown() {
    let upload = S3::new(&example()).unwrap().upload(&grant(), NOW).await.unwrap();
    let shown = format!("{upload:?}");
    assert!(shown.contains("expires_at") && !shown.contains("Signature"), "{shown}");
}

#[tokio::test]
async fn nothing_outside_media_is_removed() {
    let s3 = S3::new(&example()).unwrap();
    for name in ["one/other", "media/a", "one/media/../other", ""] {
        let refused = s3.remove(name).await.unwrap_err();
        assert!(
            matches!(&refused, VaultError::Refused(why) if why == "this is no object of ours"),
            "{name}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_shard_that_is_none_is_refused() {
    let refused = S3::new(&example()).unwrap().list(16, "", 10).await.unwrap_err();
    assert!(matches!(refused, VaultError::Refused(_)), "{refused}");
}
