//! Founding a city: stand-ins, services and polygons, on servers that run already.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use porchlight_standins::{issuer::Issuer, phones::Phones, servers::Servers};
use porchlight_synth::Town;
use uuid::Uuid;

use super::people::TownHall;
use crate::deployment::{Deployment, Service, Settings};

/// Services as separate processes, an issuer and phones in this one, and the town hall that talks to all of them.
pub struct City {
    /// The services.
    pub deployment: Deployment,
    /// Mints tokens.
    pub issuer: Arc<Issuer>,
    /// Receive pushes.
    pub phones: Arc<Phones>,
    /// Registers people.
    pub hall: TownHall,
}

impl City {
    /// Founds (or, with the same `name` and `dir`, wakes) a city.
    ///
    /// # Errors
    /// A sentence, with the end of the log of what failed.
    pub async fn found(
        dir: &Path,
        name: &str,
        servers: Servers,
        replicas: impl Fn(Service) -> usize,
        progress: &dyn Fn(&str),
    ) -> Result<Self, String> {
        Self::found_with(dir, name, servers, replicas, |_| {}, progress).await
    }

    /// As [`City::found`], with settings changed by `adapt`.
    ///
    /// # Errors
    /// As [`City::found`].
    pub async fn found_with(
        dir: &Path,
        name: &str,
        servers: Servers,
        replicas: impl Fn(Service) -> usize,
        adapt: impl FnOnce(&mut Settings),
        progress: &dyn Fn(&str),
    ) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        crate::deployment::clear(dir)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let issuer = Arc::new(start_issuer(dir).await?);
        let phones = Arc::new(Phones::start(anywhere).await?);
        let mut settings = Settings {
            issuer: issuer.url().to_owned(),
            recorder: format!("{}/recorder", phones.url()),
            ..Settings::new(name.to_owned(), servers)
        };
        adapt(&mut settings);
        let deployment = Deployment::start(dir, settings, replicas, progress).await?;
        let ingests = deployment.processes().filter(|(service, _)| *service == Service::Ingest);
        let hall = TownHall::new(
            deployment.api(Service::Gateway, 0),
            ingests.map(|(service, n)| deployment.api(service, n)).collect(),
            issuer.clone(),
            phones.clone(),
        );
        Ok(Self { deployment, issuer, phones, hall })
    }

    /// Publishes polygons, eight at a time; the ids and versions, in their order. `done` hears of each.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn draw(&self, towns: &[Town], done: impl Fn(usize)) -> Result<Vec<(Uuid, u64)>, String> {
        stream::iter(towns)
            .map(|town| async {
                let id = neighborhood_id(&town.name);
                Ok((id, self.hall.publish(id, &town.name, &town.geometry).await?))
            })
            .buffered(8)
            .enumerate()
            .map(|(n, drawn)| {
                done(n + 1);
                drawn
            })
            .try_collect()
            .await
    }
}

/// At the same address for ever: an account is a subject *of an issuer*, and that is known by its address.
async fn start_issuer(dir: &Path) -> Result<Issuer, String> {
    let file = dir.join("issuer.address");
    let kept = std::fs::read_to_string(&file).ok().and_then(|address| address.trim().parse::<SocketAddr>().ok());
    let address = kept.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let started = Issuer::start(address, Some(dir)).await;
    let issuer = started.map_err(|e| format!("{e}; the city's people are known by that address: make it free"))?;
    let address = issuer.url().trim_start_matches("http://");
    std::fs::write(&file, address).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(issuer)
}

/// The id under which a city knows a town.
pub fn neighborhood_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("porchlight:town:{name}").as_bytes())
}
