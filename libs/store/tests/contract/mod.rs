//! What every store does, whatever it is made of. Written against [`Store`] alone, so that each adapter runs the same
//! cases. All ids are random: the cases may share one store, and run in any order.

mod deliveries;
pub(crate) mod media;
mod places;
mod registry;
mod timeline;

use std::{future::Future, pin::Pin};

use porchlight_domain::{Clock, SystemClock, Timestamp};
use porchlight_store::Store;
use uuid::Uuid;

/// A case, by its name.
pub(crate) struct Case {
    /// As a test is named.
    pub(crate) name: &'static str,
    run: fn(Store) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        vec![$(Case { name: stringify!($name), run: |store| Box::pin($module::$name(store)) }),+]
    };
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    cases![
        registry::a_row_is_inserted_once,
        registry::a_lost_update_is_refused,
        registry::of_many_writers_of_one_version_one_wins,
        registry::a_version_that_does_not_follow_is_refused,
        registry::residents_keep_their_endpoints,
        registry::devices_come_back_as_written,
        registry::a_serial_read_sees_what_was_just_written,
        registry::a_household_is_a_set,
        registry::homes_come_back_as_written,
        places::a_late_copy_does_not_cover_a_newer_one,
        places::a_home_that_moves_leaves_its_old_cell,
        places::the_homes_of_a_cell_come_in_pages,
        places::pending_homes_are_those_that_wait,
        registry::old_versions_of_a_neighborhood_stay_readable,
        registry::a_version_of_a_neighborhood_is_decided_once,
        registry::all_ids_are_walked_in_pages,
        registry::intents_are_read_by_span,
        registry::operators_are_made,
        timeline::the_first_in_offset_order_is_the_event,
        timeline::what_became_of_a_day_is_read_whole,
        timeline::items_come_back_as_written,
        timeline::the_media_of_an_item_come_back_as_written,
        timeline::an_older_revision_does_not_cover_a_newer_one,
        timeline::groups_are_kept_apart,
        timeline::g6_what_is_past_its_expiry_is_absent,
        timeline::g6_what_has_expired_is_not_written,
        timeline::g3_an_item_stands_only_in_feeds_that_it_is_shared_with,
        timeline::feeds_are_read_across_buckets_newest_first,
        timeline::equal_times_are_paged_exactly,
        media::a_media_is_found_by_its_id_and_by_its_event,
        media::g6_a_second_completion_moves_no_end,
        media::the_media_of_an_event_come_in_the_order_of_their_receipt,
        media::g6_what_ended_is_no_event_s_and_still_has_a_row,
        media::g6_a_row_is_absent_when_its_time_is_over,
        media::g6_a_shorter_end_stays_whatever_is_written_later,
        media::all_media_are_walked_in_pages,
        media::the_rows_say_since_when_they_are_kept,
        media::a_sweep_is_taken_up_where_it_was_left,
        media::a_sweep_is_another_s_only_when_its_time_is_over,
        media::of_many_who_take_a_sweep_one_has_it,
        deliveries::what_became_of_a_push_is_remembered,
        deliveries::pushes_of_two_people_do_not_meet,
        deliveries::why_did_i_not_get_this,
        deliveries::a_week_later_it_is_forgotten,
    ]
}

/// Runs every case, each to its end; panics with the names of those that failed.
pub(crate) async fn run(store: &Store) {
    let mut failed = Vec::new();
    for case in cases() {
        // A task of its own, so that a panic does not keep the others from running.
        if tokio::spawn((case.run)(store.clone())).await.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "these cases failed: {failed:?}");
}

/// An id that nobody has yet. UUIDv5, as derived ids are.
pub(crate) fn id() -> Uuid {
    Uuid::new_v5(&Uuid::new_v4(), b"")
}

/// The present, by the clock that stores go by.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
