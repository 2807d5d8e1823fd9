//! Stage `send`: who is told, once, and what is recorded. Time stands still but for waits, which pass at once.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use porchlight_bus::{Handler as _, Lease, Outcome, Topic};
use porchlight_domain::{Alert, ChosenId, Endpoint, EndpointId, Lane, NeighborhoodRef, PushTask, Recipient, Transport};
use porchlight_push::Sent;
use porchlight_store::DeliveryOutcome;
use porchlight_wire::Wire as _;
use support::{NOON, Town, alert, home, neighborhood, record, resident, retry, retry_after};
use uuid::Uuid;

fn malden() -> Vec<NeighborhoodRef> {
    vec![neighborhood(1, 1)]
}

fn to_neighbors(alert: Alert, people: &[u128]) -> PushTask {
    let recipients = people.iter().map(|n| Recipient { resident: resident(*n), home: Some(home(*n)) }).collect();
    PushTask { alert, lane: Lane::Neighborhood, bucket: 0, recipients }
}

async fn send(town: &Arc<Town>, task: &PushTask) -> Outcome {
    town.sender().handle(record(Topic::Pushes, task.encode())).await
}

/// Neighbors 2 and 3 in Malden, 4 in Quincy.
fn neighbors() -> Arc<Town> {
    let town = Town::new();
    for (n, of) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        town.settle(n, of);
    }
    town
}

#[tokio::test(start_paused = true)]
async fn a_neighbor_is_told_as_one_and_the_household_as_itself() {
    let town = neighbors();
    let told = Alert { revision: 5, shared_revision: 1, lane: Lane::Ding, ..alert(&malden()) };
    assert_eq!(send(&town, &to_neighbors(told.clone(), &[2])).await, Outcome::Done);
    let household = PushTask {
        lane: Lane::Ding,
        recipients: vec![Recipient { resident: resident(1), home: None }],
        ..to_neighbors(told, &[])
    };
    assert_eq!(send(&town, &household).await, Outcome::Done);
    let pushes = town.pushes();
    assert_eq!((pushes[0].lane, pushes[0].silent), (Lane::Neighborhood, false), "the first shared revision is news");
    assert_eq!((pushes[1].lane, pushes[1].silent), (Lane::Ding, true));
    let rows = town.ledger();
    assert_eq!((rows[0].as_neighbor, rows[0].revision), (true, 1), "its own count of revisions");
    assert_eq!((rows[1].as_neighbor, rows[1].revision), (false, 5));
}

/// A process that was stopped for longer than its session goes on between the ledger and the provider.
#[tokio::test(start_paused = true)]
async fn g8_a_sender_whose_session_is_over_hands_nothing_over() {
    let town = neighbors();
    let task = to_neighbors(alert(&malden()), &[2, 3]);
    let mut late = record(Topic::Pushes, task.encode());
    Arc::get_mut(&mut late).unwrap().lease = Lease::over();
    let outcome = town.sender().handle(late).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert!(town.pushes().is_empty() && town.ledger().is_empty());
    assert_eq!(send(&town, &task).await, Outcome::Done);
    assert_eq!(town.pushes().len(), 2, "its owner tells them");
}

#[tokio::test(start_paused = true)]
async fn g1_who_moved_between_plan_and_send_gets_nothing() {
    let town = neighbors();
    town.move_home(2, 2);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2, 3])).await, Outcome::Done);
    assert_eq!(
        town.outcomes(),
        [(resident(2), DeliveryOutcome::NotAllowed), (resident(3), DeliveryOutcome::HandedOver)]
    );
    assert_eq!(town.pushes().len(), 1);
    assert!(town.ledger().iter().any(|d| d.endpoint == EndpointId(Uuid::nil())));
}

#[tokio::test(start_paused = true)]
async fn g1_a_plan_is_not_believed() {
    let town = neighbors();
    town.unverify(3);
    // Quincy, an unverified home, and nobody at all.
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[3, 4, 99])).await, Outcome::Done);
    assert_eq!(town.pushes(), []);
    assert_eq!(town.outcomes().len(), 3);
    assert!(town.outcomes().iter().all(|(_, o)| *o == DeliveryOutcome::NotAllowed));
}

#[tokio::test(start_paused = true)]
async fn g3_what_is_the_households_alone_is_told_to_no_neighbor() {
    let town = neighbors();
    assert_eq!(send(&town, &to_neighbors(alert(&[]), &[2])).await, Outcome::Done);
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::NotAllowed)]);
}

#[tokio::test(start_paused = true)]
async fn g8_a_push_that_was_decided_is_not_sent_again() {
    let town = neighbors();
    let task = to_neighbors(alert(&malden()), &[2, 3]);
    for _ in 0..3 {
        assert_eq!(send(&town, &task).await, Outcome::Done);
    }
    // Planned again by another neighborhood, in another task.
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[3])).await, Outcome::Done);
    assert_eq!(town.pushes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn g8_a_crash_between_hand_over_and_record_repeats_the_same_push() {
    let town = neighbors();
    let task = to_neighbors(alert(&malden()), &[2]);
    town.before_answer(|town| {
        // The process dies while the push is with the provider: no row is ever written by it.
        town.ledger_stumbles(usize::MAX);
        town.stop.cancel();
    });
    assert!(matches!(send(&town, &task).await, Outcome::Retry { .. }));
    assert_eq!(town.outcomes(), []);

    let mut revived = town.sender_means();
    revived.stop = Default::default();
    town.ledger_stumbles(0);
    assert_eq!(town.sender_of(revived).handle(record(Topic::Pushes, task.encode())).await, Outcome::Done);
    let pushes = town.pushes();
    assert_eq!(pushes.len(), 2);
    assert_eq!(pushes[0], pushes[1], "one id, one collapse key: a phone shows one");
}

#[tokio::test(start_paused = true)]
async fn g8_a_ledger_that_stumbles_does_not_ring_twice() {
    let town = neighbors();
    town.ledger_stumbles(2);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert_eq!(town.pushes().len(), 1);
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::HandedOver)]);
}

#[tokio::test(start_paused = true)]
async fn g8_a_provider_that_is_down_delays_only_its_own_people() {
    let town = neighbors();
    town.edit_person(2, |p| p.endpoints[0].transport = Transport::Fcm { token: "t".into() });
    town.answers(2, std::iter::repeat_with(retry).take(1_000));
    let outcome = send(&town, &to_neighbors(alert(&malden()), &[2, 3])).await;
    assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.starts_with("1 of 2")), "{outcome:?}");
    assert_eq!(town.outcomes(), [(resident(3), DeliveryOutcome::HandedOver)]);

    // The record comes again when it is up: only who is left is told.
    town.answers(2, []);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2, 3])).await, Outcome::Done);
    assert_eq!(town.pushes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_stumbles_is_asked_again_and_not_before_it_said() {
    let town = neighbors();
    town.answers(2, [retry(), retry_after(20)]);
    let began = tokio::time::Instant::now();
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert!(began.elapsed() >= std::time::Duration::from_secs(20));
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::HandedOver)]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_longer_than_a_minute_gives_its_record_back() {
    let town = neighbors();
    town.answers(2, [retry_after(300)]);
    let began = tokio::time::Instant::now();
    let outcome = send(&town, &to_neighbors(alert(&malden()), &[2])).await;
    assert!(matches!(outcome, Outcome::Retry { after, .. } if after <= std::time::Duration::from_secs(30)));
    assert!(began.elapsed() < std::time::Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn g8_what_is_news_no_more_is_not_sent() {
    let town = neighbors();
    let task = to_neighbors(alert(&malden()), &[2, 3]);
    town.edit_person(3, |p| p.endpoints.clear());
    town.clock.advance_ms(600_001);
    assert_eq!(send(&town, &task).await, Outcome::Done);
    assert_eq!(town.pushes(), []);
    assert!(town.outcomes().iter().all(|(_, o)| *o == DeliveryOutcome::Expired));
    assert_eq!(town.outcomes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_push_that_was_handed_over_stays_so() {
    let town = neighbors();
    let task = to_neighbors(alert(&malden()), &[2]);
    assert_eq!(send(&town, &task).await, Outcome::Done);
    town.clock.advance_ms(600_001);
    assert_eq!(send(&town, &task).await, Outcome::Done);
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::HandedOver)]);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_endpoint_is_recorded() {
    let town = neighbors();
    town.edit_person(2, |p| p.endpoints.clear());
    town.edit_person(3, |p| p.endpoints[0].transport = Transport::Apns { token: "00".into(), sandbox: false });
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2, 3])).await, Outcome::Done);
    assert_eq!(
        town.outcomes(),
        [(resident(2), DeliveryOutcome::NoEndpoint), (resident(3), DeliveryOutcome::Refused)],
        "no provider for it in this deployment"
    );
}

#[tokio::test(start_paused = true)]
async fn g8_an_endpoint_that_is_gone_is_removed_and_the_others_stay() {
    let town = neighbors();
    town.edit_person(2, |p| {
        let chosen = ChosenId(Uuid::from_u128(2));
        let id = EndpointId::scoped(p.id, chosen);
        p.endpoints.push(Endpoint { id, chosen, transport: Transport::Fcm { token: "t".into() }, registered_at: NOON });
    });
    town.answers(2, [Sent::EndpointGone]);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert_eq!(
        town.outcomes(),
        [(resident(2), DeliveryOutcome::EndpointGone), (resident(2), DeliveryOutcome::HandedOver)]
    );
    let left: Vec<&str> = town.person(2).endpoints.iter().map(|e| e.transport.as_str()).collect();
    assert_eq!(left, ["fcm"]);
}

#[tokio::test(start_paused = true)]
async fn g8_an_endpoint_registered_again_while_it_was_called_gone_stays_and_is_told() {
    let town = neighbors();
    town.answers(2, [Sent::EndpointGone]);
    town.before_answer(|town| {
        town.edit_person(2, |p| {
            p.endpoints[0].registered_at = NOON.plus_ms(1);
            p.endpoints[0].transport = Transport::Fcm { token: "new".into() };
        });
    });
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert_eq!(town.person(2).endpoints.len(), 1);
    assert_eq!(town.pushes()[0].transport, "fcm");
}

#[tokio::test(start_paused = true)]
async fn g8_a_refused_message_leaves_the_endpoint() {
    let town = neighbors();
    town.answers(2, [Sent::Refused { reason: "status 400".into() }]);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::Refused)]);
    assert_eq!(town.person(2).endpoints.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn g1_a_polygon_edited_before_the_send_decides() {
    let town = neighbors();
    // Malden gives its whole ground to Quincy; the alert was matched before.
    town.draw(1, 2, 5, 6);
    assert_eq!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Done);
    assert_eq!(town.outcomes(), [(resident(2), DeliveryOutcome::NotAllowed)]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_being_stopped_begins_nothing() {
    let town = neighbors();
    town.stop.cancel();
    assert!(matches!(send(&town, &to_neighbors(alert(&malden()), &[2])).await, Outcome::Retry { .. }));
    assert_eq!(town.pushes(), []);
}
