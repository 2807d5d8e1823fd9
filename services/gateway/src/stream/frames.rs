//! What stands on the wire: server-sent events (WHATWG HTML, section 9.2), each frame whole.

use axum::body::Bytes;
use porchlight_domain::{Cleared, Timestamp, view::ItemView};

use super::cursor;

/// How long a client waits before it comes again, ms.
pub(super) const OPENING: Bytes = Bytes::from_static(b"retry: 1000\n\n");
/// What was missed is sent; from here on it is live.
pub(super) const LIVE: Bytes = Bytes::from_static(b": live\n\n");
/// Says that the connection is there, to all that stands in between.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b": \n\n");
/// More may have been missed than is kept in memory.
pub(super) const RESYNC: Bytes = Bytes::from_static(b"event: resync\ndata: {}\n\n");

/// Why a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// The token does not hold any longer.
    TokenExpired,
    /// The client reads more slowly than there is news.
    SlowReader,
    /// This gateway cannot go on; another, or this one later, will.
    GoingAway,
}

impl Ending {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::SlowReader => "slow_reader",
            Self::GoingAway => "going_away",
        }
    }

    /// The last frame.
    pub(super) fn frame(self) -> Bytes {
        format!("event: closed\ndata: {{\"reason\":\"{}\"}}\n\n", self.as_str()).into()
    }
}

/// One item. JSON as it is written here has no line ends, so it is one line of data.
///
/// # Errors
/// The view has no JSON form.
pub(super) fn item(view: &Cleared<ItemView>, log_at: Timestamp) -> Result<Bytes, serde_json::Error> {
    let json = serde_json::to_string(view)?;
    Ok(format!("event: item\nid: {}\ndata: {json}\n\n", cursor::write(log_at)).into())
}
