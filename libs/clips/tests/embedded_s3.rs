//! The vault against the S3 server of a city that is one process.
#![allow(clippy::unwrap_used)]

mod vault;

use porchlight_clips::S3Config;
use porchlight_standins::s3::EmbeddedS3;

async fn server() -> (S3Config, (EmbeddedS3, tempfile::TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedS3::start(folder.path(), ([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let it = embedded.server();
    let config = vault::config(&it.endpoint, &it.bucket, &it.region, &it.access_key_id, &it.secret_access_key);
    (config, (embedded, folder))
}

try_all!(server);
