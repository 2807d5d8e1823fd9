//! Counting at the end, past the proxies and past the services: what was acknowledged against the log, the log against
//! the rows, the phones against the oracle.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use porchlight_bus::{From, Reader, Topic};
use porchlight_domain::{Clock as _, DeviceId, EventId, Logged, MediaId, SystemClock};
use porchlight_standins::phones::Phones;
use porchlight_store::Store;
use porchlight_wire::Wire as _;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::report::{Count, Moments};
use crate::{
    city::{
        life::{Accepted, News},
        people::{Camera, Resident},
        witness::Witness,
    },
    deployment::Settings,
};

/// Sees what is acknowledged, and what reaches the phones.
pub struct Observer {
    phones: Arc<Phones>,
    cameras: Vec<Camera>,
    /// Knows all that was put in, and judges all that came out.
    pub witness: Witness,
    acknowledged: BTreeMap<(DeviceId, EventId), i64>,
    stored: BTreeMap<MediaId, i64>,
    /// The next push to look at.
    next: u64,
    shown: HashSet<(String, String)>,
    shown_twice: Vec<i64>,
    pushed: Vec<i64>,
}

impl Observer {
    /// `witness` knows the polygons and the people.
    pub fn new(phones: Arc<Phones>, cameras: Vec<Camera>, witness: Witness) -> Self {
        Self {
            phones,
            cameras,
            witness,
            acknowledged: BTreeMap::new(),
            stored: BTreeMap::new(),
            next: 0,
            shown: HashSet::new(),
            shown_twice: Vec::new(),
            pushed: Vec::new(),
        }
    }

    /// Takes all the news there will be, and looks at the phones all the while.
    pub async fn observe(mut self, mut news: mpsc::Receiver<Accepted>) -> Self {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = news.recv() => match accepted {
                    Some(accepted) => self.note(&accepted),
                    None => break,
                },
                _ = tick.tick() => self.look(),
            }
        }
        self.look();
        self
    }

    fn note(&mut self, accepted: &Accepted) {
        let camera = &self.cameras[accepted.camera];
        let now = SystemClock.now().0;
        if let Some(media) = self.witness.note(camera, &accepted.news) {
            self.stored.insert(MediaId(media), now);
        }
        if let News::Event { body, .. } = &accepted.news {
            let event = body["id"].as_str().and_then(|id| id.parse().ok()).map(|id| (DeviceId(camera.device), id));
            self.acknowledged.extend(event.map(|event| (event, now)));
        }
    }

    /// Looks at what the phones got since the last time.
    pub fn look(&mut self) {
        self.witness.observe(&self.phones);
        for push in self.phones.log(self.next) {
            self.next = push.seq + 1;
            self.pushed.push(push.received_at_ms);
            let tag = push.payload["collapse"].as_str().unwrap_or_default().to_owned();
            // Nobody here dismisses a notification: what is shown stays, and what replaces it is no second one.
            if !self.shown.insert((push.endpoint, tag)) && !push.replaced {
                self.shown_twice.push(push.received_at_ms);
            }
        }
    }

    /// When events and clips were acknowledged.
    pub fn moments_in(&self) -> Moments {
        self.acknowledged.values().chain(self.stored.values()).copied().collect()
    }

    /// When pushes came.
    pub fn moments_out(&self) -> Moments {
        self.pushed.iter().copied().collect()
    }

    /// Counts. `settings` reach the servers themselves.
    ///
    /// # Errors
    /// Log or rows cannot be read.
    pub async fn count(&self, settings: &Settings, residents: &[Resident], since_ms: i64) -> Result<Count, String> {
        let (events, media) = log(settings).await?;
        let seen = self.rows(settings).await?;
        let store = Store::connect(&settings.cql()).await.map_err(|e| e.to_string())?;
        let mut lost = Vec::new();
        for (event, at) in &self.acknowledged {
            if !events.contains(event) || !seen.contains(event) {
                lost.push(*at);
            }
        }
        for (id, at) in &self.stored {
            let row = store.media.get(*id).await.map_err(|e| e.to_string())?;
            if !media.contains(id) || row.is_none() {
                lost.push(*at);
            }
        }
        let verdict = self.witness.judge_pushes(i64::MAX);
        let mut strangers: Vec<String> =
            verdict.misdirected.iter().map(|push| format!("misdirected: {push:?}")).collect();
        strangers.extend(self.witness.judge_payloads());
        for resident in residents {
            let items = resident.app.pages("/v1/feed", "items").await?;
            strangers.extend(self.witness.judge_feed(&resident.subject, &items, since_ms, i64::MAX).wrong);
        }
        Ok(Count {
            acknowledged: self.acknowledged.len(),
            stored: self.stored.len(),
            in_log: events.len(),
            lost: lost.into_iter().collect(),
            shown_twice: self.shown_twice.iter().copied().collect(),
            pushes: self.pushed.len() as u64,
            due: verdict.checked,
            missing: verdict.missing.len(),
            strangers,
            ..Count::default()
        })
    }

    /// The events that have a row which says that it is the event.
    async fn rows(&self, settings: &Settings) -> Result<BTreeSet<(DeviceId, EventId)>, String> {
        let store = Store::connect(&settings.cql()).await.map_err(|e| e.to_string())?;
        let days: BTreeSet<(DeviceId, i32)> =
            self.acknowledged.keys().filter_map(|(device, event)| Some((*device, event.day()?))).collect();
        let mut seen = BTreeSet::new();
        for (device, day) in days {
            let rows = store.timeline.seen_on(device, day).await.map_err(|e| e.to_string())?;
            seen.extend(rows.into_iter().filter(|row| row.item.is_some()).map(|row| (row.device, row.event)));
        }
        Ok(seen)
    }
}

type Logs = (BTreeSet<(DeviceId, EventId)>, BTreeSet<MediaId>);

/// The distinct events and media in the log.
async fn log(settings: &Settings) -> Result<Logs, String> {
    let mut reader =
        Reader::open(&settings.kafka(), Topic::Events, From::Beginning).await.map_err(|e| e.to_string())?;
    let (mut events, mut media) = (BTreeSet::new(), BTreeSet::new());
    while let Some(record) = reader.next_existing().await.map_err(|e| e.to_string())? {
        match Logged::decode(&record.value).map_err(|e| e.to_string())? {
            Logged::Event(stamped) => drop(events.insert((stamped.device, stamped.event.id))),
            Logged::Media(stored) => drop(media.insert(stored.id)),
        }
    }
    Ok((events, media))
}
