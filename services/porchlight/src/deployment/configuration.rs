//! What each process is told: only what differs from the defaults that it carries.

use std::path::{Path, PathBuf};

use porchlight_bus::KafkaConfig;
use porchlight_clips::S3Config;
use porchlight_standins::servers::Servers;
use porchlight_store::CqlConfig;

use super::Service;

/// What a deployment is connected to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefix of topics, groups and objects, and the keyspace: lower-case letters, digits and `_`.
    pub name: String,
    /// Kafka, Cassandra and the S3 server.
    pub servers: Servers,
    /// Of the delete-policy topics.
    pub partitions: i32,
    /// Base URL of the token issuer.
    pub issuer: String,
    /// Base URL that takes fcm and apns pushes. Endpoints on loopback are allowed: this is no deployment for people.
    pub recorder: String,
    /// Log filter of every service.
    pub log_filter: String,
    /// Lines of the `[retention]` section of geo-index that differ from its defaults, as TOML. Empty: none.
    pub retention: String,
    /// Lines of the `[gateway]` section that differ from its defaults, as TOML. Empty: none.
    pub gateway: String,
}

/// The files of a deployment's keys.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) vapid: PathBuf,
    pub(super) grant: PathBuf,
}

/// The sections of the command line's own configuration.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientDefaults {
    pub(super) kafka: KafkaConfig,
    pub(super) cql: CqlConfig,
    pub(super) s3: S3Config,
}

pub(super) fn client_defaults() -> ClientDefaults {
    porchlight_chassis::config::load(crate::DEFAULT_TOML, None, [])
        .expect("the defaults are complete: a test loads them")
}

impl Settings {
    /// The file for one process, as TOML. `listen`: a section, the address to listen on, and the file that is to hold
    /// the address it got.
    pub(super) fn file(&self, service: Service, listen: &[(&str, String, &Path)], keys: &Keys) -> String {
        let mut toml = format!("[log]\nformat = \"json\"\nfilter = {:?}\n", self.log_filter);
        for (section, address, file) in listen {
            let file = file.display().to_string();
            toml += &format!("[{section}]\nlisten = {address:?}\naddress_file = {file:?}\n");
        }
        let kafka = self.kafka();
        toml += &format!(
            "[kafka]\nbootstrap_servers = {:?}\ntopic_prefix = {:?}\ngroup_prefix = {:?}\n",
            kafka.bootstrap_servers, kafka.topic_prefix, kafka.group_prefix
        );
        match service {
            Service::Ingest => {
                toml += &self.s3_section();
                toml += &format!("[media]\ngrant_key_file = {:?}\n", keys.grant.display().to_string());
            }
            Service::GeoIndex => {
                toml += &(self.cql_section() + &self.s3_section());
                toml += &format!("[retention]\n{}\n", self.retention);
            }
            Service::Notification => toml += &(self.cql_section() + &self.push_section(&keys.vapid)),
            Service::Gateway => {
                toml += &(self.cql_section() + &self.s3_section() + &self.push_section(&keys.vapid));
                toml += &format!(
                    "[auth]\nissuer = {:?}\naudience = {:?}\n",
                    self.issuer,
                    porchlight_standins::issuer::Issuer::AUDIENCE
                );
                toml += &format!("[gateway]\n{}\n", self.gateway);
            }
        }
        toml
    }

    fn s3_section(&self) -> String {
        let s3 = self.s3();
        format!(
            "[s3]\nendpoint = {:?}\nregion = {:?}\nbucket = {:?}\nprefix = {:?}\naccess_key_id = {:?}\n\
             secret_access_key = {:?}\n",
            s3.endpoint, s3.region, s3.bucket, s3.prefix, s3.access_key_id, s3.secret_access_key
        )
    }

    fn cql_section(&self) -> String {
        let cql = self.cql();
        format!("[cql]\ncontact_points = {:?}\nkeyspace = {:?}\n", cql.contact_points, cql.keyspace)
    }

    fn push_section(&self, vapid_key: &Path) -> String {
        format!(
            "[push]\nvapid_private_key_file = {:?}\nvapid_subject = \"mailto:operator@city.invalid\"\n\
             allow_private_addresses = true\nrecorder_url = {:?}\n",
            vapid_key.display().to_string(),
            self.recorder
        )
    }
}
