//! Reads the log's last minutes and follows it, so that a repeated event or completion is known whichever process took the first.

use std::{convert::Infallible, sync::Arc, time::Duration};

use porchlight_bus::{BusError, From, KafkaConfig, Reader, Record, Topic};
use porchlight_chassis::health::Condition;
use porchlight_domain::{Clock, Logged};
use porchlight_wire::Wire as _;
use tokio_util::sync::CancellationToken;

use crate::{courtesy::Courtesy, metrics, recent::WINDOW_MS};

const AGAIN: Duration = Duration::from_secs(1);

/// Until `stop`, through outages. `known` is met once the log was read to its end, and stays so: what the tail serves is
/// a courtesy, and no reason to take a process out of service later.
pub(crate) async fn run(
    kafka: KafkaConfig,
    courtesy: Courtesy,
    clock: Arc<dyn Clock>,
    known: Condition,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut caught_up = false;
    known.set(Err("the last minutes of events.v1 are not read yet".into()));
    loop {
        let error = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            result = follow(&kafka, &courtesy, clock.as_ref(), &known, &mut caught_up) => match result {
                Ok(never) => match never {},
                Err(error) => error,
            },
        };
        tracing::warn!(%error, "the tail of events broke; it is read again");
        if !caught_up {
            known.set(Err(error.to_string()));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn follow(
    kafka: &KafkaConfig,
    courtesy: &Courtesy,
    clock: &dyn Clock,
    known: &Condition,
    caught_up: &mut bool,
) -> Result<Infallible, BusError> {
    let since = clock.now().plus_ms(-WINDOW_MS);
    let mut reader = Reader::open(kafka, Topic::Events, From::Time(since.0)).await?;
    while let Some(record) = reader.next_existing().await? {
        learn(courtesy, &record);
    }
    *caught_up = true;
    known.set(Ok(()));
    loop {
        learn(courtesy, &reader.next().await?);
    }
}

fn learn(courtesy: &Courtesy, record: &Record) {
    metrics::TAILED.inc();
    match Logged::decode(&record.value) {
        Ok(Logged::Event(event)) => courtesy.learn(&event, record.partition, record.offset),
        Ok(Logged::Media(media)) => courtesy.learn_media(&media),
        // The consumers' to bury; no device can repeat it.
        Err(_) => {}
    }
}
