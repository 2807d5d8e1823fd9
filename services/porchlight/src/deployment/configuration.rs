//! What each process is told: only what differs from the defaults that it carries.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    /// Services that reach them another way, through a proxy for example. Empty: none.
    pub reach: BTreeMap<Service, Servers>,
    /// Of the delete-policy topics.
    pub partitions: i32,
    /// Copies of each topic; not of the keyspace, which has one.
    pub replication: i32,
    /// The group protocol of every consumer: `classic` or `consumer`.
    pub group_protocol: String,
    /// Lines of the `[kafka]` section of every service that differ from its defaults, as TOML. Empty: none.
    pub kafka: String,
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
    /// The port of a service's first process that has an API, if it is not to be any.
    pub ports: BTreeMap<Service, u16>,
    /// All of it in this process; `None`: each service is a process of its own.
    pub together: Option<Together>,
}

/// What only a deployment within one process has.
#[derive(Clone, Debug, Default)]
pub struct Together {
    /// The folder of the embedded store: there is no database.
    pub store: PathBuf,
    /// What the gateway serves beside its own API.
    pub beside: axum::Router,
}

/// The group protocol that is the default.
pub(super) const CLASSIC: &str = "classic";

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
    /// With the servers as this service reaches them.
    pub(super) fn as_told_to(&self, service: Service) -> Self {
        let servers = self.reach.get(&service).unwrap_or(&self.servers).clone();
        Self { servers, ..self.clone() }
    }

    /// The file for one process, as TOML. `listen`: a section, the address to listen on, and the file that is to hold
    /// the address it got. `snapshots`: a folder of its own for those of its table.
    pub(super) fn file(
        &self,
        service: Service,
        listen: &[(&str, String, &Path)],
        keys: &Keys,
        snapshots: &Path,
    ) -> String {
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
        if self.group_protocol != CLASSIC {
            toml += &format!("group_protocol = {:?}\n", self.group_protocol);
        }
        toml += &format!("{}\n", self.kafka);
        let snapshots = snapshots.display().to_string();
        match service {
            Service::Ingest => {
                toml += &self.s3_section();
                toml += &format!("[media]\ngrant_key_file = {:?}\n", keys.grant.display().to_string());
                toml += &format!("[devices]\nsnapshot_dir = {snapshots:?}\n");
            }
            Service::GeoIndex => {
                toml += &format!("{}{}", self.cql_section(), self.s3_section());
                toml += &format!("[retention]\n{}\n", self.retention);
                toml += &format!("[neighborhoods]\nsnapshot_dir = {snapshots:?}\n");
            }
            Service::Notification => {
                toml += &format!("{}{}", self.cql_section(), self.push_section(&keys.vapid));
                toml += &format!("[neighborhoods]\nsnapshot_dir = {snapshots:?}\n");
            }
            Service::Gateway => {
                toml += &format!("{}{}{}", self.cql_section(), self.s3_section(), self.push_section(&keys.vapid));
                toml += &format!(
                    "[auth]\nissuer = {:?}\naudience = {:?}\n",
                    self.issuer,
                    porchlight_standins::issuer::Issuer::AUDIENCE
                );
                toml += &format!("[gateway]\nneighborhoods_snapshot_dir = {snapshots:?}\n{}\n", self.gateway);
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
        let folder = cql.folder.display().to_string();
        format!(
            "[cql]\ncontact_points = {:?}\nkeyspace = {:?}\nfolder = {folder:?}\n",
            cql.contact_points, cql.keyspace
        )
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use porchlight_standins::servers::S3Server;

    fn servers(at: &str) -> Servers {
        let s3 = S3Server {
            endpoint: format!("http://s3.{at}:1"),
            bucket: "b".into(),
            region: "r".into(),
            access_key_id: "id".into(),
            secret_access_key: "secret".into(),
        };
        Servers { kafka: format!("kafka.{at}:1"), cassandra: format!("cql.{at}:1"), s3, pids: [].into() }
    }

    fn told(settings: &Settings, service: Service) -> String {
        let keys = Keys { vapid: "vapid".into(), grant: "grant".into() };
        settings.as_told_to(service).file(service, &[], &keys, Path::new("snapshots"))
    }

    #[test]
    fn a_service_that_has_a_way_of_its_own_is_told_that_and_the_others_are_not() {
        let mut settings = Settings::new("n".into(), servers("near"));
        settings.reach.insert(Service::Gateway, servers("proxy"));
        for service in Service::ALL {
            let (told, own) = (told(&settings, service), service == Service::Gateway);
            assert!(told.contains("kafka.proxy:1") == own && told.contains("kafka.near:1") != own, "{told}");
            assert!(!told.contains(if own { "near" } else { "proxy" }), "{told}");
        }
        assert_eq!(settings.kafka().bootstrap_servers, "kafka.near:1", "whoever counts goes past it");
    }

    #[test]
    fn what_is_not_changed_is_not_said_and_what_is_stands_in_the_section_of_kafka() {
        let mut settings = Settings::new("n".into(), servers("near"));
        assert!(!told(&settings, Service::GeoIndex).contains("group_protocol"));
        settings.group_protocol = "consumer".into();
        settings.kafka = "fetch_wait_ms = 7".into();
        for service in Service::ALL {
            let told = told(&settings, service);
            let (_, section) = told.split_once("[kafka]\n").unwrap();
            let section = section.split("\n[").next().unwrap();
            for line in ["group_protocol = \"consumer\"", "fetch_wait_ms = 7"] {
                assert!(section.lines().any(|l| l == line), "{told}");
            }
        }
    }
}
