//! What fields of bodies must be like.

use porchlight_domain::{Point, place::Degrees};

use crate::Error;

/// A name that people give to a thing: 1 to `max` characters without control characters, blanks at its ends dropped.
///
/// # Errors
/// 422 `name_invalid` at `pointer`.
pub(crate) fn name(name: &str, max: usize, pointer: &str) -> Result<String, Error> {
    let trimmed = name.trim();
    let fits = (1..=max).contains(&trimmed.chars().take(max + 1).count()) && !trimmed.chars().any(char::is_control);
    if fits {
        Ok(trimmed.to_owned())
    } else {
        Err(Error::unprocessable("name_invalid", pointer, format!("a name has 1 to {max} characters, none of control")))
    }
}

/// A position on the globe.
///
/// # Errors
/// 422 `position_out_of_range` at `/position`.
pub(crate) fn position(at: Degrees) -> Result<Point, Error> {
    Point::from_degrees(at).map_err(|e| Error::unprocessable("position_out_of_range", "/position", e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(name(" Front door ", 16, "/name").unwrap(), "Front door");
        assert!(name(&"ü".repeat(16), 16, "/name").is_ok());
        for bad in ["", "   ", "a\nb", "a\u{0}b", &"x".repeat(17)] {
            assert!(name(bad, 16, "/name").is_err(), "{bad:?}");
        }
    }
}
