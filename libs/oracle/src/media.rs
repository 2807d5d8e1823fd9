//! Clips and thumbnails: what was stored, and who may fetch it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    ReadVerdict, World,
    reads::{Standing, id_in, members},
    time::try_millis,
};

/// How long a URL to the bytes may live.
const URL_MS: i64 = 60_000;

/// All that an answer may hold for a neighbor.
const NEIGHBORS_MEMBERS: [&str; 9] =
    ["id", "scope", "kind", "content_type", "bytes", "sha256", "item", "url", "url_expires_at"];

/// A media whose upload was completed.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) device: Uuid,
    pub(crate) event: Uuid,
    pub(crate) household: Uuid,
    pub(crate) kind: String,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    pub(crate) received_at_ms: i64,
}

impl Stored {
    pub(crate) fn name(&self) -> (Uuid, String) {
        (self.id, self.kind.clone())
    }
}

impl World {
    /// Judges the answer to a person who asked for one media at `now_ms` or just before: its body, or `None` for the 404.
    /// The oracle knows no retention: ask for what has not ended.
    pub fn judge_media(&self, person: &str, media: Uuid, answer: Option<&Value>, now_ms: i64) -> ReadVerdict {
        let wrong = match (self.media.get(&media), answer) {
            (None, None) => Vec::new(),
            (None, Some(_)) => vec![format!("{media} is nothing that was stored")],
            (Some(stored), answer) => match (self.scope_of(person, stored), answer) {
                (None, None) => Vec::new(),
                (None, Some(_)) => vec![format!("the media {media} is shown to a stranger")],
                (Some(_), None) => vec![format!("the media {media} is withheld")],
                (Some(scope), Some(body)) => self.wrong_with_media(stored, scope, body, now_ms),
            },
        };
        ReadVerdict { checked: 1, wrong }
    }

    /// Whose eyes it is for, if this person may see it.
    fn scope_of(&self, person: &str, media: &Stored) -> Option<&'static str> {
        if self.people.get(person)?.household == media.household {
            return Some("household");
        }
        let happening = self.happenings.get(self.seen.get(&(media.device, media.event))?)?;
        let shows_it = happening.shared.media.iter().any(|(id, _)| *id == media.id);
        match self.standing(person, happening)? {
            Standing::Neighbor(_) if shows_it => Some("neighborhood"),
            Standing::Neighbor(_) | Standing::Household => None,
        }
    }

    fn wrong_with_media(&self, stored: &Stored, scope: &str, body: &Value, now_ms: i64) -> Vec<String> {
        let id = stored.id;
        let must = json!({
            "id": id, "scope": scope, "kind": stored.kind, "bytes": stored.bytes, "sha256": stored.sha256
        });
        let members_due = must.as_object().into_iter().flatten();
        let mut wrong: Vec<String> = members_due
            .filter(|(member, value)| body[member.as_str()] != **value)
            .map(|(member, value)| format!("the media {id} says {member} {} and not {value}", body[member]))
            .collect();
        // The household may fetch it before its event came, and an item may name it a moment later than it is stored.
        let item = self.seen.get(&(stored.device, stored.event)).copied();
        if id_in(body, "item") != item && !(scope == "household" && body["item"].is_null()) {
            wrong.push(format!("the media {id} names another item than that of its event"));
        }
        if scope != "household" {
            let more = members(body).filter(|member| !NEIGHBORS_MEMBERS.contains(&member.as_str()));
            wrong.extend(more.map(|member| format!("the media {id} shows a neighbor its {member}")));
        }
        if body["url"].as_str().is_none_or(str::is_empty) {
            wrong.push(format!("the media {id} has no URL"));
        }
        let ends_at_ms = body["url_expires_at"].as_str().and_then(try_millis);
        if ends_at_ms.is_none_or(|at| at > now_ms + URL_MS) {
            wrong.push(format!("the URL of the media {id} lives longer than {URL_MS} ms"));
        }
        wrong
    }
}
