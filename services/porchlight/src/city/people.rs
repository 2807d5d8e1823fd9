//! Moving in: how residents, homes, phones and cameras come to be, through the same API that an app has.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use porchlight_geofence::{Geometry, Point, geojson};
use porchlight_standins::{issuer::Issuer, phones::Phones};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Answer, Client, position};

/// How long the tokens of a city's people are good.
const TOKEN_TTL_S: u64 = 24 * 3600;
/// How many households move in side by side.
const MOVERS: usize = 8;

/// Where everything is that a newcomer talks to.
#[derive(Clone)]
pub struct TownHall {
    http: reqwest::Client,
    gateway: String,
    ingest: Vec<String>,
    issuer: Arc<Issuer>,
    phones: Arc<Phones>,
}

/// A resident who has moved in.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The subject at the issuer.
    pub subject: String,
    /// Talks to the gateway as this resident.
    pub app: Client,
    /// The household, as `/v1/me` names it.
    pub household: Uuid,
    /// Where the home is.
    pub home: Point,
    /// Whether it was verified.
    pub verified: bool,
    /// The phone's subscription: how [`Phones`] names it. `None`: no phone yet.
    pub phone: Option<String>,
    /// The cameras.
    pub cameras: Vec<Camera>,
}

/// A camera with its credential.
#[derive(Clone, Debug)]
pub struct Camera {
    /// The id by which items name it.
    pub device: Uuid,
    /// The id its owner chose.
    pub chosen: Uuid,
    /// Where it stands.
    pub at: Point,
    /// The labels of which neighbors hear.
    pub shares: Vec<String>,
    /// Whether its clips and thumbnails are stored.
    pub clips: bool,
    /// Whether neighbors also see those of the events that they hear of.
    pub shares_media: bool,
    /// Talks to an ingest as this camera.
    pub line: Client,
}

impl TownHall {
    /// `gateway` and `ingest`: base URLs; cameras are spread over the latter.
    pub fn new(gateway: String, ingest: Vec<String>, issuer: Arc<Issuer>, phones: Arc<Phones>) -> Self {
        Self { http: reqwest::Client::new(), gateway, ingest, issuer, phones }
    }

    /// The gateway, as someone with these scopes.
    pub fn as_subject(&self, subject: &str, scopes: &[&str]) -> Client {
        Client::new(&self.http, &self.gateway, &self.issuer.mint(subject, scopes, TOKEN_TTL_S))
    }

    /// The gateway, as the operator.
    pub fn operator(&self) -> Client {
        self.as_subject("the-operator", &["operator"])
    }

    /// The phones.
    pub fn phones(&self) -> &Phones {
        &self.phones
    }

    /// Publishes a neighborhood (a new version if it is there), and answers its version.
    ///
    /// # Errors
    /// The gateway's word.
    pub async fn publish(&self, id: Uuid, name: &str, geometry: &Geometry) -> Result<u64, String> {
        let feature =
            json!({ "type": "Feature", "properties": { "name": name }, "geometry": geojson::write(geometry) });
        let path = format!("/v1/neighborhoods/{id}?repair=even-odd");
        let operator = self.operator();
        let written = patiently(|| operator.put(&path, &feature)).await.map_err(|e| format!("{name}: {e}"))?;
        written["version"].as_u64().ok_or_else(|| format!("{name}: an answer without a version"))
    }

    /// A resident with a verified home, a phone and cameras.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn settle(&self, household: &porchlight_synth::Household) -> Result<Resident, String> {
        let mut resident = self.arrive(&household.subject, household.home, household.at).await?;
        self.verify(&mut resident, household.home).await?;
        self.give_phone(&mut resident, household.endpoint).await?;
        for camera in &household.cameras {
            self.mount(&mut resident, household.home, camera).await?;
        }
        Ok(resident)
    }

    /// Many households side by side; `done` hears of each.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn settle_all(
        &self,
        households: &[porchlight_synth::Household],
        done: impl Fn(usize),
    ) -> Result<Vec<Resident>, String> {
        stream::iter(households)
            .map(|household| self.settle(household))
            .buffered(MOVERS)
            .enumerate()
            .map(|(n, settled)| {
                done(n + 1);
                settled
            })
            .try_collect()
            .await
    }

    /// A resident with a home that is not verified yet, without phone or camera.
    ///
    /// # Errors
    /// The gateway's word.
    pub async fn arrive(&self, subject: &str, home: Uuid, at: Point) -> Result<Resident, String> {
        let app = self.as_subject(subject, &[]);
        let me = patiently(|| app.get("/v1/me")).await?;
        let body = json!({ "name": "Home", "position": position(at.x, at.y) });
        let path = format!("/v1/homes/{home}");
        patiently(|| app.put(&path, &body)).await?;
        Ok(Resident {
            subject: subject.to_owned(),
            app,
            household: uuid_of(&me["household"])?,
            home: at,
            verified: false,
            phone: None,
            cameras: Vec::new(),
        })
    }

    /// Verifies the resident's home, as the operator does.
    ///
    /// # Errors
    /// The gateway's word.
    pub async fn verify(&self, resident: &mut Resident, home: Uuid) -> Result<(), String> {
        let path = format!("/v1/homes/{home}");
        let own = patiently(|| resident.app.get(&path)).await?;
        let path = format!("/v1/operator/homes/{}/verify", uuid_of(&own["home"])?);
        let operator = self.operator();
        patiently(|| operator.post(&path, &Value::Null)).await?;
        resident.verified = true;
        Ok(())
    }

    /// A phone that receives Web Push.
    ///
    /// # Errors
    /// The gateway's word.
    pub async fn give_phone(&self, resident: &mut Resident, endpoint: Uuid) -> Result<(), String> {
        let (phone, url, p256dh, auth) = self.phones.subscribe();
        let body = json!({ "transport": "webpush", "url": url, "p256dh": p256dh, "auth": auth });
        let path = format!("/v1/push-endpoints/{endpoint}");
        patiently(|| resident.app.put(&path, &body)).await?;
        resident.phone = Some(phone);
        Ok(())
    }

    /// A camera at the resident's home, with a credential.
    ///
    /// # Errors
    /// The gateway's word.
    pub async fn mount(
        &self,
        resident: &mut Resident,
        home: Uuid,
        camera: &porchlight_synth::Camera,
    ) -> Result<(), String> {
        let body = json!({
            "name": camera.name,
            "home": home,
            "position": position(camera.at.x, camera.at.y),
            "neighborhood_labels": camera.shares,
            "neighborhood_media": camera.shares_media,
            "clips": camera.clips,
        });
        let path = format!("/v1/devices/{}", camera.id);
        let registered = patiently(|| resident.app.put(&path, &body)).await?;
        let credentials = format!("{path}/credentials");
        let issued = patiently(|| resident.app.post(&credentials, &Value::Null)).await?;
        let credential = issued["credential"].as_str().ok_or("an answer without a credential")?;
        let ingest = &self.ingest[camera.id.as_bytes()[0] as usize % self.ingest.len()];
        resident.cameras.push(Camera {
            device: uuid_of(&registered["device"])?,
            chosen: camera.id,
            at: camera.at,
            shares: camera.shares.iter().map(|&s| s.to_owned()).collect(),
            clips: camera.clips,
            shares_media: camera.shares_media,
            line: Client::new(&self.http, ingest, credential),
        });
        Ok(())
    }
}

/// Asks again while the gateway says that it is too busy to tell: all that is asked here may be done twice.
async fn patiently<F: Future<Output = Result<Answer, String>>>(ask: impl Fn() -> F) -> Result<Value, String> {
    for wait in [250, 500, 1_000, 2_000, 4_000] {
        let answer = ask().await?;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return answer.ok();
        }
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    ask().await?.ok()
}

fn uuid_of(value: &Value) -> Result<Uuid, String> {
    value.as_str().and_then(|s| s.parse().ok()).ok_or_else(|| format!("no id: {value}"))
}
