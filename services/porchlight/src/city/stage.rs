//! A populated city, alive: events go in, everything that comes out is judged, once a second a frame is drawn.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use porchlight_domain::{Clock, Outcome, SystemClock};
use porchlight_standins::phones::Push;
use porchlight_synth::{Evening, Town};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    founding::City,
    gauges::Reading,
    life::{self, Accepted, News, Pace, Tally},
    own::Own,
    people::{Camera, Resident},
    reads::{self, Album},
    say,
    screen::{Frame, Screen},
    telling::{self, Telling},
    web::Web,
    witness::Witness,
};

/// How long a push may take before it is called missing, while the city lives.
const GRACE_MS: i64 = 15_000;
/// How long the page's tokens are good: it asks for another.
const PAGE_TOKEN_TTL_S: u64 = 900;
/// How long the oracle remembers.
const MEMORY_MS: i64 = 15 * 60_000;
/// For how many frames one resident is looked at.
const LOOK: u64 = 15;

/// A city with its people and its witness.
pub(super) struct Stage {
    city: City,
    residents: Vec<Resident>,
    /// Every camera, with its device id.
    cameras: Vec<Camera>,
    neighborhoods: Vec<(Uuid, Town)>,
    witness: Witness,
    tally: Arc<Tally>,
    rng: StdRng,
    looked_at: usize,
    /// Judged feeds, and those that were wrong.
    reads: [u64; 2],
    /// What was stored of late, and how the asking for it went.
    album: Album,
    /// The most that was ever missing or misdirected at once: a frame forgets, this does not.
    worst: [u64; 2],
    since_ms: i64,
    /// Tells the page, if there is one.
    telling: Option<Telling>,
    seed: u64,
    own: Own,
}

impl Stage {
    pub(super) fn new(city: City, residents: Vec<Resident>, neighborhoods: Vec<(Uuid, Town)>, seed: u64) -> Self {
        let mut witness = Witness::default();
        for (id, town) in &neighborhoods {
            witness.neighborhood(*id, &town.geometry);
        }
        for resident in &residents {
            witness.resident(resident);
        }
        Self {
            cameras: residents.iter().flat_map(|r| r.cameras.iter().cloned()).collect(),
            city,
            residents,
            neighborhoods,
            witness,
            tally: Arc::default(),
            rng: StdRng::seed_from_u64(seed),
            looked_at: 0,
            reads: [0; 2],
            album: Album::default(),
            worst: [0; 2],
            since_ms: SystemClock.now().0,
            telling: None,
            seed,
            own: Own::new(),
        }
    }

    /// Lets a page show what happens.
    pub(super) fn show(&mut self, page: Web, name: &str, rate: f64) {
        let scene = telling::scene(name, self.seed, rate, &self.neighborhoods, &self.cameras, &self.residents);
        let issuer = self.city.issuer.clone();
        let mint = move |subject: &str| issuer.mint(subject, &[], PAGE_TOKEN_TTL_S);
        let (phones, kafka) = (self.city.phones.clone(), self.city.deployment.settings().kafka());
        self.telling = Some(Telling::start(page, &scene, mint, &self.residents, phones, kafka));
    }

    pub(super) fn cameras(&self) -> usize {
        self.cameras.len()
    }

    pub(super) fn neighborhoods(&self) -> usize {
        self.neighborhoods.len()
    }

    /// Lets it live until `stop` (or for so long), then waits until all that is under way has arrived.
    pub(super) async fn live(
        &mut self,
        evening: Evening,
        pace: Pace,
        about: &str,
        at_most: Option<Duration>,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let (accepted, mut news) = mpsc::channel(4_096);
        let end = stop.child_token();
        let living =
            tokio::spawn(life::live(self.cameras.clone(), evening, pace, accepted, self.tally.clone(), end.clone()));
        let mut screen = Screen::new(10);
        screen.clear();
        let begun = Instant::now();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frames = 0;
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                Some(event) = news.recv() => self.note(&event),
                _ = second.tick() => {
                    // Whoever judges must not be behind: a frame may take longer than a second.
                    while let Ok(event) = news.try_recv() {
                        self.note(&event);
                    }
                    if let Some(ended) = self.city.deployment.ended() {
                        return Err(ended);
                    }
                    if at_most.is_some_and(|most| begun.elapsed() >= most) {
                        end.cancel();
                    }
                    if frames % LOOK == 0 {
                        self.looked_at = self.rng.random_range(0..self.residents.len().max(1));
                        self.read_a_feed().await?;
                        self.look_at_a_picture().await?;
                    }
                    frames += 1;
                    let frame = self.frame(about, begun.elapsed(), Some(GRACE_MS), "Ctrl-C drains and ends it").await;
                    if let Some(telling) = &mut self.telling {
                        telling.numbers(&frame);
                    }
                    screen.draw(&frame);
                }
            }
        }
        say("no more events; waiting for what is under way");
        living.await.map_err(|e| e.to_string())?;
        while let Some(event) = news.recv().await {
            self.note(&event);
        }
        self.settle().await;
        let frame = self.frame(about, begun.elapsed(), None, "drained").await;
        Screen::new(1).draw(&frame);
        Ok(())
    }

    /// Stops the services; an error if anything went astray.
    pub(super) async fn end(mut self) -> Result<(), String> {
        say("draining the services");
        // Browsers that look on would keep the gateway from its end.
        self.telling = None;
        self.city.deployment.stop().await?;
        let verdict = self.witness.judge_pushes(i64::MAX);
        for due in verdict.missing.iter().take(10) {
            say(&format!("missing: {due:?}"));
        }
        for push in verdict.misdirected.iter().take(10) {
            say(&format!("misdirected: {push:?}"));
        }
        let [missing, misdirected] = self.worst;
        let said = self.witness.judge_payloads();
        for sentence in said.iter().take(10) {
            say(&format!("a wrong push: {sentence}"));
        }
        if verdict.is_clean() && misdirected == 0 && said.is_empty() && self.reads[1] + self.album.wrong() == 0 {
            return Ok(());
        }
        Err(format!(
            "the oracle found {} pushes missing (at worst {missing}), {} misdirected (at worst {misdirected}), {} items wrong \
             in feeds, {} media answered wrongly",
            verdict.missing.len(),
            verdict.misdirected.len(),
            self.reads[1],
            self.album.wrong()
        ))
    }

    fn note(&mut self, accepted: &Accepted) {
        if let Some(telling) = &self.telling {
            telling.news(accepted);
        }
        let camera = &self.cameras[accepted.camera];
        let media = self.witness.note(camera, &accepted.news);
        if let (Some(media), News::Media { file, received_at, .. }) = (media, &accepted.news) {
            self.album.add(media, camera.device, file.sha256(), *received_at);
        }
    }

    /// Waits until every expected push has arrived, at most for a while.
    async fn settle(&mut self) {
        for _ in 0..150 {
            self.witness.observe(&self.city.phones);
            if self.witness.judge_pushes(i64::MAX).missing.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Reads the whole feed of the resident who is looked at, as her app would, and has it judged.
    async fn read_a_feed(&mut self) -> Result<(), String> {
        let Some(resident) = self.residents.get(self.looked_at) else { return Ok(()) };
        let settled = SystemClock.now().0 - GRACE_MS;
        let items = resident.app.pages("/v1/feed", "items").await?;
        let since = self.since_ms.max(settled - MEMORY_MS / 2);
        let verdict = self.witness.judge_feed(&resident.subject, &items, since, settled);
        for sentence in &verdict.wrong {
            say(&format!("a wrong feed: {sentence}"));
        }
        self.reads[0] += verdict.checked as u64;
        self.reads[1] += verdict.wrong.len() as u64;
        Ok(())
    }

    /// Lets the household, a neighbor and a stranger fetch a picture that was stored a while ago, and has it judged.
    async fn look_at_a_picture(&mut self) -> Result<(), String> {
        let settled = SystemClock.now().plus_ms(-GRACE_MS);
        let Some(picture) = self.album.choose(settled, MEMORY_MS / 2, &mut self.rng) else { return Ok(()) };
        for resident in reads::audience(&self.residents, &self.witness, &picture, &mut self.rng) {
            self.album.fetch(resident, &self.witness, &picture).await?;
        }
        Ok(())
    }

    /// `grace_ms`: how long a push may take before it is called missing; `None` when all must have arrived.
    async fn frame(&mut self, about: &str, up: Duration, grace_ms: Option<i64>, hint: &str) -> Frame {
        self.witness.observe(&self.city.phones);
        let now = SystemClock.now().0;
        let verdict = self.witness.judge_pushes(grace_ms.map_or(i64::MAX, |grace| now - grace));
        let count = |n: usize| n as u64;
        self.worst[0] = self.worst[0].max(count(verdict.missing.len()));
        self.worst[1] = self.worst[1].max(count(verdict.misdirected.len()));
        let latency_ms = self.witness.latency_ms();
        self.witness.forget(now - MEMORY_MS);

        let reading = self.readings().await;
        let outcome =
            |o: Outcome| reading.sum("porchlight_geo_index_events_total", &format!("outcome=\"{}\"", o.as_str()));
        let outcomes: Vec<(&str, f64)> = Outcome::ALL.iter().map(|o| (o.as_str(), outcome(*o))).collect();
        let lag = |stage: &str| reading.sum("porchlight_bus_consumer_lag_records", &format!("stage=\"{stage}\""));
        Frame {
            about: about.to_owned(),
            ground: match self.city.deployment.settings().together {
                Some(_) => "one process, nothing but this folder: not for people; and those here are made up",
                None => "real Kafka, Cassandra and S3 server, one process per service; the people are made up",
            },
            up,
            totals: [
                self.tally.accepted.load(Ordering::Relaxed) as f64,
                outcomes.iter().map(|(_, n)| n).sum(),
                reading.sum("porchlight_plan_alerts_total", ""),
                self.witness.observed() as f64,
            ],
            lag: [lag("geo-index"), lag("notification-plan"), lag("notification-send")],
            latency_ms,
            own: self.own.look().filter(|_| self.city.deployment.settings().together.is_some()),
            refused: self.tally.refused.load(Ordering::Relaxed),
            outcomes: outcomes.into_iter().filter(|(_, n)| *n > 0.0).collect(),
            pushes_judged: [count(verdict.checked), self.worst[0], self.worst[1], count(verdict.doubled.len())],
            reads_judged: self.reads,
            media: self.album.counts(),
            resident: self.introduce(),
            reached: self.reached().await,
            hint: hint.to_owned(),
        }
    }

    async fn readings(&self) -> Reading {
        let http = reqwest::Client::new();
        let mut all = Reading::default();
        for admin in self.city.deployment.numbers() {
            all.add(Reading::take(&http, &admin).await);
        }
        all
    }

    fn introduce(&self) -> String {
        let Some(resident) = self.residents.get(self.looked_at) else { return "nobody lives here".into() };
        let town = self.neighborhoods.iter().find(|(_, town)| town.geometry.contains(resident.home));
        let town = town.map_or("nowhere", |(_, town)| town.name.as_str());
        let cameras = match resident.cameras.len() {
            0 => "no camera".to_owned(),
            1 => "one camera".to_owned(),
            n => format!("{n} cameras"),
        };
        format!("{} of {town}, {cameras}: what reached her phone, and why", resident.subject)
    }

    /// The last pushes of the resident who is looked at, each with what she may know of it.
    async fn reached(&self) -> Vec<String> {
        let Some((resident, phone)) = self.residents.get(self.looked_at).and_then(|r| Some((r, r.phone.as_ref()?)))
        else {
            return Vec::new();
        };
        let mut last: Vec<&Push> = self.witness.reached(phone).collect();
        last.drain(..last.len().saturating_sub(5));
        let mut lines = Vec::new();
        for push in last {
            let item = push.payload["item"].as_str().unwrap_or_default();
            let shown = resident.app.get(&format!("/v1/items/{item}")).await.map(|a| a.body).unwrap_or_default();
            lines.push(self.tell(push, &shown));
        }
        lines
    }

    fn tell(&self, push: &Push, item: &Value) -> String {
        let at = porchlight_domain::Timestamp(push.received_at_ms).to_string();
        let line = push.payload["line"].as_str().unwrap_or_default();
        let what = line.split_once('.').map_or(line, |(_, label)| label);
        let names = item["neighborhoods"].as_array().into_iter().flatten().filter_map(|n| {
            let id: Uuid = n.as_str()?.parse().ok()?;
            self.neighborhoods.iter().find(|(known, _)| *known == id).map(|(_, town)| town.name.as_str())
        });
        let why = match item["scope"].as_str() {
            Some("household") => "at her own door".to_owned(),
            Some(_) => format!("shared with {}", names.collect::<Vec<_>>().join(" and ")),
            None => "no longer hers to see".to_owned(),
        };
        let silent = if push.payload["silent"] == Value::Bool(true) { ", replaced in place" } else { "" };
        format!("{}  {what:<8} {why}{silent}", at.get(11..19).unwrap_or_default())
    }
}
