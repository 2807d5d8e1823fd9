//! What each process is told: only what differs from the defaults that it carries.

use std::path::Path;

use porchlight_bus::KafkaConfig;
use porchlight_standins::servers::Servers;
use porchlight_store::CqlConfig;

use super::Service;

/// What a deployment is connected to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefix of topics and groups, and the keyspace: lower-case letters, digits and `_`.
    pub name: String,
    /// Kafka and Cassandra.
    pub servers: Servers,
    /// Of the delete-policy topics.
    pub partitions: i32,
    /// Base URL of the token issuer.
    pub issuer: String,
    /// Base URL that takes fcm and apns pushes. Endpoints on loopback are allowed: this is no deployment for people.
    pub recorder: String,
    /// Log filter of every service.
    pub log_filter: String,
}

/// The sections of the command line's own configuration.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientDefaults {
    pub(super) kafka: KafkaConfig,
    pub(super) cql: CqlConfig,
}

pub(super) fn client_defaults() -> ClientDefaults {
    porchlight_chassis::config::load(crate::DEFAULT_TOML, None, [])
        .expect("the defaults are complete: a test loads them")
}

impl Settings {
    /// The file for one process, as TOML. `listen`: a section, the address to listen on, and the file that is to hold
    /// the address it got.
    pub(super) fn file(&self, service: Service, listen: &[(&str, String, &Path)], vapid_key: &Path) -> String {
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
            Service::Ingest => {}
            Service::GeoIndex => toml += &self.cql_section(),
            Service::Notification => toml += &(self.cql_section() + &self.push_section(vapid_key)),
            Service::Gateway => {
                toml += &(self.cql_section() + &self.push_section(vapid_key));
                toml += &format!(
                    "[auth]\nissuer = {:?}\naudience = {:?}\n",
                    self.issuer,
                    porchlight_standins::issuer::Issuer::AUDIENCE
                );
            }
        }
        toml
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
