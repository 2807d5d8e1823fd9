//! The command line, as the operator of a deployment runs it.

use porchlight::deployment::Settings;
use tokio::process::Command;

/// What the command answered.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// It went well; what it said.
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }
}

/// Runs it on a deployment's own servers, topics, keyspace and objects.
pub async fn porchlight(settings: &Settings, args: &[&str]) -> Said {
    let (kafka, cql, s3) = (settings.kafka(), settings.cql(), settings.s3());
    let done = Command::new(env!("CARGO_BIN_EXE_porchlight"))
        .args(args)
        .env("PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        .env("PORCHLIGHT_KAFKA__TOPIC_PREFIX", kafka.topic_prefix)
        .env("PORCHLIGHT_KAFKA__GROUP_PREFIX", kafka.group_prefix)
        .env("PORCHLIGHT_CQL__CONTACT_POINTS", format!("{:?}", cql.contact_points))
        .env("PORCHLIGHT_CQL__KEYSPACE", cql.keyspace)
        .env("PORCHLIGHT_S3__ENDPOINT", s3.endpoint)
        .env("PORCHLIGHT_S3__BUCKET", s3.bucket)
        .env("PORCHLIGHT_S3__PREFIX", s3.prefix)
        .env("PORCHLIGHT_S3__ACCESS_KEY_ID", s3.access_key_id)
        .env("PORCHLIGHT_S3__SECRET_ACCESS_KEY", s3.secret_access_key)
        .output()
        .await
        .expect("the command line runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}
