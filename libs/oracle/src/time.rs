//! Reading times: RFC 3339, to milliseconds since the Unix epoch.

/// Milliseconds since the Unix epoch of an RFC 3339 time with `Z` or an offset; further digits of a second are dropped.
/// Days by the civil calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
///
/// # Panics
/// If it is none.
pub(crate) fn millis(text: &str) -> i64 {
    try_millis(text).unwrap_or_else(|| panic!("not an RFC 3339 time: {text}"))
}

/// As [`millis`]; `None` if it is none.
pub(crate) fn try_millis(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = (days * 24 + number(11..13)?) * 3600 + number(14..16)? * 60 + number(17..19)?;

    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let digits = match fraction.strip_prefix('.') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        None if fraction.is_empty() => "",
        Some(_) | None => return None,
    };
    let millis: String = digits.chars().chain("000".chars()).take(3).collect();
    let offset_minutes = match (zone.get(..1)?, zone.len()) {
        ("Z" | "z", 1) => 0,
        (sign, 6) => {
            let start = 19 + zone_at;
            let minutes = number(start + 1..start + 3)? * 60 + number(start + 4..start + 6)?;
            if sign == "-" { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some((seconds - offset_minutes * 60) * 1000 + millis.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(millis("1970-01-01T00:00:00.000Z"), 0);
        assert_eq!(millis("2024-02-29T12:34:56.7Z"), 1_709_210_096_700);
        assert_eq!(millis("2024-02-29T14:34:56.7009+02:00"), 1_709_210_096_700);
        assert_eq!(millis("2024-02-29T07:04:56-05:30"), 1_709_210_096_000);
        assert_eq!(millis("2026-11-24T17:00:00Z"), 1_795_539_600_000);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "2026-11-24", "2026-11-24T17:00:00", "2026-11-24T17:00:00.xZ", "2026-11-24T17:00:00+2"] {
            assert_eq!(try_millis(text), None, "{text}");
        }
    }
}
