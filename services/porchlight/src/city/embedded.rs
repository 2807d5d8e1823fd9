//! The embedded ground of a city: broker, S3 server and store in this process, each with a folder of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use porchlight_standins::{
    broker::{EmbeddedBroker, limits},
    s3::EmbeddedS3,
    servers::Servers,
};

use crate::deployment::{Settings, Together};

/// What runs of it. Dropped without [`Embedded::stop`], it ends at once, as a crash would end it.
pub struct Embedded {
    broker: EmbeddedBroker,
    s3: EmbeddedS3,
    store: PathBuf,
}

impl Embedded {
    /// Starts them with what they kept in `dir`.
    ///
    /// # Errors
    /// A sentence: another process has the folder, or it cannot be used.
    pub async fn start(dir: &Path) -> Result<Self, String> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let broker = EmbeddedBroker::start(&dir.join("broker"), 0).await?;
        let s3 = EmbeddedS3::start(&dir.join("objects"), anywhere, None).await?;
        Ok(Self { broker, s3, store: dir.join("store") })
    }

    /// As a deployment is told of servers. There is no database.
    pub fn servers(&self) -> Servers {
        Servers {
            kafka: self.broker.bootstrap().to_owned(),
            cassandra: String::new(),
            s3: self.s3.server().clone(),
            pids: [].into(),
        }
    }

    /// What a deployment on it is told beside that.
    pub fn adapt(&self, settings: &mut Settings, beside: axum::Router) {
        settings.partitions = limits::PARTITIONS;
        settings.kafka = limits::kafka_lines();
        settings.together = Some(Together { store: self.store.clone(), beside });
    }

    /// Ends them: what was acknowledged is on disk.
    pub async fn stop(self) {
        self.broker.stop().await;
        self.s3.stop().await;
    }
}
