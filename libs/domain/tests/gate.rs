//! The gate's rule, case by case and as a property.

use std::collections::HashMap;

use porchlight_domain::{
    Alert, AlertId, Audience, Borders, ContentHash, ContentType, DeviceId, EventId, Gate, HomeId, HouseholdId, Item,
    ItemId, Kind, Label, Labels, Lane, Media, MediaId, MediaKind, NeighborhoodId, NeighborhoodRef, Point, Residence,
    ResidentId, Timestamp, Undecided, Version, Viewer,
    item::{GroupKey, Shared},
};
use proptest::prelude::*;
use uuid::Uuid;

/// Neighborhoods as stripes of longitude, each at any number of versions.
#[derive(Default)]
struct Stripes {
    current: HashMap<NeighborhoodId, Version>,
    stripes: HashMap<NeighborhoodRef, std::ops::Range<i32>>,
}

impl Stripes {
    fn with(mut self, id: u128, version: u64, stripe: std::ops::Range<i32>) -> Self {
        let neighborhood = hood(id, version);
        self.current.insert(neighborhood.id, neighborhood.version);
        self.stripes.insert(neighborhood, stripe);
        self
    }
}

impl Borders for Stripes {
    fn current(&self, id: NeighborhoodId) -> Option<Version> {
        self.current.get(&id).copied()
    }
    fn is_known(&self, id: NeighborhoodId) -> bool {
        self.stripes.keys().any(|n| n.id == id)
    }
    fn holds(&self, neighborhood: NeighborhoodRef, point: Point) -> Result<bool, Undecided> {
        self.stripes.get(&neighborhood).map(|s| s.contains(&point.lon_e7)).ok_or(Undecided(neighborhood))
    }
}

fn hood(id: u128, version: u64) -> NeighborhoodRef {
    NeighborhoodRef { id: NeighborhoodId(Uuid::from_u128(id)), version: Version(version) }
}

fn home_at(lon_e7: i32, verified: bool) -> Residence {
    Residence { home: HomeId(Uuid::from_u128(9)), point: Point { lon_e7, lat_e7: 0 }, verified }
}

fn viewer(household: u128, residences: Vec<Residence>) -> Viewer {
    Viewer {
        resident: ResidentId(Uuid::from_u128(household)),
        household: HouseholdId(Uuid::from_u128(household)),
        residences,
    }
}

fn item(neighborhoods: Vec<NeighborhoodRef>, shared: bool) -> Item {
    Item {
        id: ItemId(Uuid::from_u128(77)),
        group: GroupKey { device: DeviceId(Uuid::from_u128(5)), kind: Kind::Motion, familiar: false },
        household: HouseholdId(Uuid::from_u128(1)),
        labels: [Label::Person, Label::Vehicle].into_iter().collect(),
        shared_labels: if shared { [Label::Person].into_iter().collect() } else { Labels::NONE },
        point: Point { lon_e7: 150, lat_e7: 0 },
        neighborhoods,
        revision: 1,
        shared: shared.then_some(Shared {
            revision: 1,
            since: Timestamp(5),
            updated_at: Timestamp(5),
            occurred_at: Timestamp(5),
        }),
        opened_at: Timestamp(0),
        updated_at: Timestamp(0),
        occurred_at: Timestamp(0),
        last_occurred_at: Timestamp(0),
        last_event: EventId(Uuid::nil()),
        media: Vec::new(),
        expires_at: Timestamp(1_000),
    }
}

fn shown(borders: &Stripes, viewer: &Viewer, item: &Item) -> Option<serde_json::Value> {
    let view = Gate(borders).show(viewer, item).expect("every version is here")?;
    Some(serde_json::to_value(&view).expect("a view is JSON"))
}

#[test]
fn g1_a_neighbor_sees_what_is_shared_and_a_coarse_place_only() {
    let borders = Stripes::default().with(1, 1, 100..200);
    let view = shown(&borders, &viewer(2, vec![home_at(120, true)]), &item(vec![hood(1, 1)], true)).expect("shared");
    assert_eq!(view["labels"], serde_json::json!(["person"]));
    for hidden in ["position", "device", "familiar", "shared"] {
        assert!(view.get(hidden).is_none(), "{hidden} left the household");
    }
    assert_eq!(view["received_at"], "1970-01-01T00:00:00.005Z", "not even when the first private event came");
    assert_eq!(view["about"], serde_json::json!({"lon": 0.0025, "lat": 0.0025}));
}

#[test]
fn g3_an_item_that_is_not_shared_is_the_households_alone() {
    let borders = Stripes::default().with(1, 1, 100..200);
    let private = item(vec![hood(1, 1)], false);
    assert!(shown(&borders, &viewer(2, vec![home_at(120, true)]), &private).is_none());
    assert!(shown(&borders, &viewer(1, vec![]), &private).is_some_and(|v| v["position"]["lon"] == 0.000_015));
}

#[test]
fn g1_a_pending_home_sees_nothing_of_the_neighborhood() {
    let borders = Stripes::default().with(1, 1, 100..200);
    assert!(shown(&borders, &viewer(2, vec![home_at(120, false)]), &item(vec![hood(1, 1)], true)).is_none());
}

#[test]
fn g1_a_home_must_lie_in_the_polygon_as_matched_and_as_it_is_now() {
    let moved = Stripes::default().with(1, 1, 100..200).with(1, 2, 150..300);
    let seen = |lon| shown(&moved, &viewer(2, vec![home_at(lon, true)]), &item(vec![hood(1, 1)], true)).is_some();
    assert!(seen(160), "in both");
    assert!(!seen(120), "only as matched");
    assert!(!seen(250), "only as it is now");
}

#[test]
fn g1_a_deleted_neighborhood_has_no_members() {
    let mut borders = Stripes::default().with(1, 1, 100..200);
    borders.current.clear();
    assert!(shown(&borders, &viewer(2, vec![home_at(120, true)]), &item(vec![hood(1, 1)], true)).is_none());
}

#[test]
fn g1_a_version_that_is_not_here_is_no_answer() {
    let borders = Stripes::default().with(1, 1, 100..200);
    let newer = item(vec![hood(1, 2)], true);
    let asked = Gate(&borders).show(&viewer(2, vec![home_at(120, true)]), &newer);
    assert_eq!(asked, Err(Undecided(hood(1, 2))));
    let unheard_of = item(vec![hood(2, 1)], true);
    let asked = Gate(&borders).show(&viewer(2, vec![home_at(120, true)]), &unheard_of);
    assert_eq!(asked, Err(Undecided(hood(2, 1))), "so new that it has not arrived is not deleted");
}

#[test]
fn g4_a_person_in_two_neighborhoods_sees_it_by_those_only() {
    let borders = Stripes::default().with(1, 1, 100..200).with(2, 1, 110..130).with(3, 1, 140..160);
    let all = item(vec![hood(1, 1), hood(2, 1), hood(3, 1)], true);
    let view = shown(&borders, &viewer(2, vec![home_at(120, true)]), &all).expect("shared");
    assert_eq!(view["neighborhoods"].as_array().map(Vec::len), Some(2), "{view}");
}

#[test]
fn g8_the_first_revision_that_neighbors_may_hear_of_is_news_to_them_and_silent_to_the_household() {
    let borders = Stripes::default().with(1, 1, 100..200);
    let alert = Alert {
        id: AlertId::of_item(ItemId(Uuid::from_u128(77))),
        item: ItemId(Uuid::from_u128(77)),
        revision: 2,
        event: EventId(Uuid::nil()),
        shared_revision: 1,
        household: HouseholdId(Uuid::from_u128(1)),
        neighborhoods: vec![hood(1, 1)],
        lane: Lane::Motion,
        kind: Kind::Motion,
        labels: [Label::Person, Label::Vehicle].into_iter().collect(),
        shared_labels: [Label::Vehicle].into_iter().collect(),
        created_at: Timestamp(0),
        expires_at: Timestamp(1),
        stream_only: false,
    };
    let told = |v: &Viewer| Gate(&borders).tell(v, &alert).expect("every version is here").expect("allowed");
    let (own, neighbor) = (told(&viewer(1, vec![])), told(&viewer(2, vec![home_at(120, true)])));
    assert!(own.silent() && !neighbor.silent());
    assert_eq!((own.revision(), neighbor.revision()), (2, 1), "not even how many revisions were not shared");
    assert_eq!((own.lane(), neighbor.lane()), (Lane::Motion, Lane::Neighborhood));
    assert_eq!(own.collapse(), neighbor.collapse());
    let payload = serde_json::to_value(&neighbor).expect("a hint is JSON");
    assert_eq!(payload["line"], "neighborhood.vehicle", "what is not shared is not hinted at: {payload}");
}

proptest! {
    /// For any homes, stripes and versions: a stranger sees it exactly if a verified home of theirs is in both versions.
    #[test]
    fn g1_nobody_else_ever(
        homes in prop::collection::vec((0..400_i32, any::<bool>()), 0..4),
        matched in 0..300_i32, now in 0..300_i32, shared in any::<bool>(),
    ) {
        let borders = Stripes::default().with(1, 1, matched..matched + 100).with(1, 2, now..now + 100);
        let residences = homes.iter().map(|&(lon, verified)| home_at(lon, verified)).collect();
        let sees = shown(&borders, &viewer(2, residences), &item(vec![hood(1, 1)], shared)).is_some();
        let may = shared && homes.iter().any(|&(lon, verified)| {
            verified && (matched..matched + 100).contains(&lon) && (now..now + 100).contains(&lon)
        });
        prop_assert_eq!(sees, may);
    }
}

fn clip() -> Media {
    let sha256 = ContentHash([1; 32]);
    let (device, event) = (DeviceId(Uuid::from_u128(5)), EventId(Uuid::nil()));
    Media {
        id: MediaId::of(device, event, MediaKind::Clip, &sha256),
        device,
        event,
        household: HouseholdId(Uuid::from_u128(1)),
        kind: MediaKind::Clip,
        content_type: ContentType::Mp4,
        bytes: 7,
        sha256,
        retention_days: 30,
        received_at: Timestamp(0),
    }
}

#[test]
fn g1_a_clip_is_seen_by_the_household_and_by_neighbors_whom_it_was_shared_with() {
    let borders = Stripes::default().with(1, 1, 100..200);
    let ask = |viewer: &Viewer, item: Option<&Item>| {
        let view = Gate(&borders).media(viewer, &clip(), item).expect("every version is here")?;
        Some(serde_json::to_value(&view).expect("a view is JSON"))
    };
    let (own, neighbor, stranger) =
        (viewer(1, vec![]), viewer(2, vec![home_at(120, true)]), viewer(3, vec![home_at(300, true)]));
    let with = |shared_item, shared_clip| item(vec![hood(1, 1)], shared_item).gather(&[clip()], shared_clip);

    assert!(ask(&own, None).is_some_and(|v| v["event"].is_string()), "the event need not have arrived");
    assert!(ask(&neighbor, None).is_none());
    assert!(ask(&neighbor, Some(&item(vec![hood(1, 1)], true))).is_none(), "the item does not show it");
    assert!(ask(&neighbor, Some(&with(true, false))).is_none(), "the item is shared, the clip is not");
    assert!(ask(&neighbor, Some(&with(false, true))).is_none(), "nothing of the item is shared");
    let view = ask(&neighbor, Some(&with(true, true))).expect("shared");
    assert!(["event", "received_at", "device"].iter().all(|hidden| view.get(hidden).is_none()), "{view}");
    assert!(ask(&stranger, Some(&with(true, true))).is_none());
    assert!(ask(&own, Some(&with(false, false))).is_some());

    let names =
        |viewer: &Viewer, item: &Item| shown(&borders, viewer, item).map(|v| v["media"].as_array().map(Vec::len));
    assert_eq!(names(&own, &with(true, false)), Some(Some(1)));
    assert_eq!(names(&neighbor, &with(true, false)), Some(Some(0)), "nor is it named");
    assert_eq!(names(&neighbor, &with(true, true)), Some(Some(1)));
}

#[test]
fn an_audience_of_an_unshared_item_names_no_neighborhood() {
    let audience = item(vec![hood(1, 1)], false).audience();
    assert_eq!(audience, Audience { household: HouseholdId(Uuid::from_u128(1)), neighborhoods: vec![] });
}
