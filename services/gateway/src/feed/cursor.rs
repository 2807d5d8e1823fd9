//! The cursor of a feed: a place in the merged order, opaque to clients.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use porchlight_domain::{ItemId, Timestamp};
use porchlight_store::FeedPosition;
use uuid::Uuid;

use crate::{Error, api::cursor_invalid};

const VERSION: u8 = 1;

/// A cursor: everything after it is older than this place.
pub(super) fn write(at: FeedPosition) -> String {
    let mut bytes = Vec::with_capacity(25);
    bytes.push(VERSION);
    bytes.extend_from_slice(&at.at.0.to_be_bytes());
    bytes.extend_from_slice(at.item.0.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor.
///
/// # Errors
/// 400 `cursor_invalid`.
pub(super) fn read(cursor: &str) -> Result<FeedPosition, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| cursor_invalid())?;
    let (&[VERSION], rest) = bytes.split_first_chunk::<1>().ok_or_else(cursor_invalid)? else {
        return Err(cursor_invalid());
    };
    let (at, item) = rest.split_first_chunk::<8>().ok_or_else(cursor_invalid)?;
    let item = Uuid::from_slice(item).map_err(|_| cursor_invalid())?;
    Ok(FeedPosition { at: Timestamp(i64::from_be_bytes(*at)), item: ItemId(item) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(at in any::<i64>(), item in any::<u128>()) {
            let position = FeedPosition { at: Timestamp(at), item: ItemId(Uuid::from_u128(item)) };
            prop_assert_eq!(read(&write(position)).unwrap(), position);
        }

        #[test]
        fn nothing_else_panics(text in ".{0,64}") {
            let _ = read(&text);
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = write(FeedPosition { at: Timestamp(1), item: ItemId(Uuid::nil()) });
        for bad in ["", "x", "AA", &good[1..], &format!("{good}AAAA"), &good.replacen("AQ", "Ag", 1)] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
