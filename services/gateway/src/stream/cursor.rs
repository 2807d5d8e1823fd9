//! The cursor of a stream: the log time of what was sent, opaque to clients. It means the same on every gateway.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use porchlight_domain::Timestamp;

use crate::Error;

const VERSION: u8 = 1;

/// The cursor behind what stands in the log at this time.
pub(super) fn write(log_at: Timestamp) -> String {
    let mut bytes = [VERSION; 9];
    bytes[1..].copy_from_slice(&log_at.0.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor.
///
/// # Errors
/// 400 `cursor_invalid`.
pub(super) fn read(cursor: &[u8]) -> Result<Timestamp, Error> {
    let invalid = || Error::bad_request("cursor_invalid", "Last-Event-ID is the id of an event, as it was given");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
    match <[u8; 9]>::try_from(bytes) {
        Ok([VERSION, log_at @ ..]) => Ok(Timestamp(i64::from_be_bytes(log_at))),
        Ok(_) | Err(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(at in any::<i64>()) {
            prop_assert_eq!(read(write(Timestamp(at)).as_bytes()).unwrap(), Timestamp(at));
        }

        #[test]
        fn nothing_else_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = write(Timestamp(1));
        for bad in ["", "x", "AA", "1780000000000", &good[1..], &format!("{good}AAAA"), &good.replacen("AQ", "Ag", 1)] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
