//! The feed: what happened at home, and what neighbors share around the verified homes, as one, newest first.
//!
//! Every item is loaded and passed through the gate, whatever feed it stood in: a feed only says where to look. A cursor
//! names a place that was shown; if a request ends while it skips what may not be shown, it names a moment only.

mod cursor;
mod merge;

use axum::extract::State;
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use porchlight_chassis::http::{Json, Query};
use porchlight_domain::{Cleared, ItemId, Viewer, view::ItemView};
use porchlight_store::{FeedOwner, FeedPosition};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    App, Error,
    accounts::Caller,
    api::{BadQuery, PageQuery, Refused},
};
use merge::{Merge, Place};

/// How many items one request looks at, at most: a page ends early only behind so many that may not be shown.
const MAX_LOOKED_AT: usize = 1_000;

/// How many items are looked at side by side.
const SIDE_BY_SIDE: usize = 16;

/// A page of the feed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FeedPage {
    /// Newest first.
    #[schema(value_type = Vec<ItemView>)]
    items: Vec<Cleared<ItemView>>,
    /// For the page after this one; null at the end.
    next_cursor: Option<String>,
}

/// What happened, newest first
///
/// The household's items stand at the receipt of their first event, neighbors' at that of their first shared one; an item
/// keeps its place when it gets another revision. A page is full unless it is the last, or unless very many items in a
/// row may not be shown: go on until `next_cursor` is null.
#[utoipa::path(get, path = "/v1/feed", tag = "feed", operation_id = "read_feed", security(("oidc" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page", body = FeedPage), BadQuery, Refused))]
pub(crate) async fn read(
    caller: Caller,
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<FeedPage>, Error> {
    let limit = query.limit()?;
    let before = query.cursor.as_deref().map(cursor::read).transpose()?;
    let viewer = caller.viewer(&*app.store.registry).await?;
    let around = app.guard.neighborhoods_of(&viewer)?;
    let owners = std::iter::once(FeedOwner::Household(viewer.household))
        .chain(around.into_iter().map(|(at, _)| FeedOwner::Neighborhood(at.id)));
    page(&app, &viewer, Merge::new(owners, before), before, limit).await.map(Json)
}

async fn page(
    app: &App,
    viewer: &Viewer,
    mut merge: Merge,
    before: Option<FeedPosition>,
    limit: usize,
) -> Result<FeedPage, Error> {
    let not_before = app.clock.now().plus_ms(-i64::from(app.feed_days) * 86_400_000);
    // One more than asked for: whether there is a next page must not depend on what may not be shown.
    let enough = limit + 1;
    let mut shown: Vec<(FeedPosition, Cleared<ItemView>)> = Vec::new();
    let (mut looked_at, mut last) = (0, None);
    while shown.len() < enough && looked_at < MAX_LOOKED_AT {
        let pulls = merge.wanted().into_iter().map(|wanted| async move {
            let entries = app.store.timeline.feed(wanted.owner, wanted.before, not_before, enough).await?;
            Ok::<_, Error>((wanted.source, entries))
        });
        for (source, entries) in try_join_all(pulls).await? {
            merge.feed(source, &entries, enough);
        }
        let places: Vec<Place> = std::iter::from_fn(|| merge.next()).take(enough - shown.len()).collect();
        let Some(newest_unseen) = places.last() else { break };
        looked_at += places.len();
        last = Some(newest_unseen.position);
        let mut views = stream::iter(places).map(|place| look(app, viewer, place)).buffered(SIDE_BY_SIDE);
        while let Some(view) = views.try_next().await? {
            shown.extend(view);
        }
    }
    let next = if shown.len() > limit {
        shown.truncate(limit);
        shown.last().map(|(position, _)| *position)
    } else if looked_at >= MAX_LOOKED_AT {
        last.map(|last| match shown.last() {
            Some((shown, _)) if shown.at == last.at => *shown,
            Some(_) | None => moment(last, before),
        })
    } else {
        None
    };
    let items = shown.into_iter().map(|(_, view)| view).collect();
    Ok(FeedPage { items, next_cursor: next.map(cursor::write) })
}

/// The item at a place, if it may be shown there.
async fn look(app: &App, viewer: &Viewer, place: Place) -> Result<Option<(FeedPosition, Cleared<ItemView>)>, Error> {
    let Some(item) = app.store.timeline.item(place.position.item).await? else { return Ok(None) };
    // The household's own item stands in its feed; its place among the neighbors' would be a second one.
    if item.household == viewer.household && !place.own {
        return Ok(None);
    }
    Ok(app.guard.show(viewer, Some(&item)).await?.map(|view| (place.position, view)))
}

/// A cursor behind an item that may not be shown names its moment, not the item; and it always moves on.
fn moment(last: FeedPosition, before: Option<FeedPosition>) -> FeedPosition {
    let all_of_it = FeedPosition { at: last.at, item: ItemId(Uuid::max()) };
    if before.is_none_or(|before| all_of_it < before) {
        all_of_it
    } else {
        FeedPosition { at: last.at, item: ItemId(Uuid::nil()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::Timestamp;

    #[test]
    fn g1_a_cursor_behind_hidden_items_names_none_of_them_and_moves_on() {
        let hidden = FeedPosition { at: Timestamp(7), item: ItemId(Uuid::from_u128(5)) };
        let first = moment(hidden, None);
        assert_eq!(first, FeedPosition { at: Timestamp(7), item: ItemId(Uuid::max()) });
        let second = moment(hidden, Some(first));
        assert!(second < first && second.item == ItemId(Uuid::nil()));
    }
}
