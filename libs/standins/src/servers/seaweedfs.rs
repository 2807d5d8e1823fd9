//! SeaweedFS: an S3 server with real authentication, `weed mini`, which is all its parts in one process.

use std::{process::Command, time::Duration};

use super::{Kind, Place, S3Server, at, cache::Source, process, write_template};

const BUCKET: &str = "porchlight";
const ACCESS_KEY_ID: &str = "porchlight-development";
const SECRET_ACCESS_KEY: &str = "opens-nothing-but-this-loopback";

/// The ports that clients and its own parts find each other at, in the order of [`Place::ports`]. Left to itself it would
/// take fixed ones, and 10,000 above each.
const PORTS: [&str; 10] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
];

pub(crate) struct SeaweedFs;

impl SeaweedFs {
    pub(crate) const NAME: &str = "seaweedfs";
}

impl Kind for SeaweedFs {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn source(&self) -> (&'static str, Source) {
        let source = Source::Program {
            go_mod: include_str!("../../servers/seaweedfs/go.mod"),
            go_sum: include_str!("../../servers/seaweedfs/go.sum"),
            package: "github.com/seaweedfs/seaweedfs/weed",
        };
        ("seaweedfs", source)
    }

    fn ports(&self) -> usize {
        PORTS.len()
    }

    fn answers(&self, port: u16, bound: Duration) -> bool {
        stores(&client(port), bound)
    }

    fn prepare(&self, place: &Place, _: &[Place]) -> Result<(), String> {
        let data = place.home.join("data");
        std::fs::create_dir_all(&data).map_err(|e| at(&data, "cannot be made", &e))?;
        write_template(
            &place.home.join("s3.json"),
            include_str!("../../servers/seaweedfs/s3.json"),
            &[("access_key_id", &ACCESS_KEY_ID), ("secret_access_key", &SECRET_ACCESS_KEY)],
        )
    }

    fn command(&self, place: &Place) -> Command {
        let mut weed = Command::new(place.cached.join("weed"));
        // What is written here is all that configures it: it would take identities, buckets and any other setting from
        // variables, and files from its user's home.
        weed.current_dir(&place.home).env_clear();
        // Otherwise it keeps its logs in files of its own.
        weed.args(["-logtostderr=true", "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
        weed.args(PORTS.iter().zip(&place.ports).map(|(flag, port)| format!("-{flag}={port}")));
        weed.args(["-admin.port.legacy=0", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        weed.args(["-admin.ui=false", "-webdav=false", "-master.telemetry=false"]);
        // A bucket that is not there is an error, as it is elsewhere.
        weed.args(["-s3.config=s3.json", &format!("-bucket={BUCKET}"), "-s3.autoCreateBucket=false"]);
        // What follows the two dashes it does not look at.
        weed.arg("--").arg(process::marker(&place.home));
        weed
    }
}

/// How its clients reach it.
pub(crate) fn client(port: u16) -> S3Server {
    S3Server {
        endpoint: format!("http://127.0.0.1:{port}"),
        bucket: BUCKET.into(),
        region: "us-east-1".into(),
        access_key_id: ACCESS_KEY_ID.into(),
        secret_access_key: SECRET_ACCESS_KEY.into(),
    }
}

/// Whether it stores: its port opens seconds before its parts have found each other. Not an empty object, which would be
/// a directory entry and no more.
fn stores(client: &S3Server, bound: Duration) -> bool {
    const KEY: &str = "does-it-store";
    let is =
        |method, body, wanted| client.send_within(bound, method, KEY, body).is_ok_and(|(status, _)| status == wanted);
    is("PUT", b"it does".as_slice(), 200) && is("DELETE", b"".as_slice(), 204)
}
