//! What is decided without asking anybody.

use std::collections::BTreeSet;

use porchlight_domain::{Cell, Home};

use super::Row;

/// What became of a conditional write that got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It is the row.
    Applied,
    /// The row stands where it stood.
    NotApplied,
    /// Another row has this version or a later one: whether ours stood there for a moment cannot be told.
    Overtaken,
}

/// Judges by the row as a serial read found it.
pub fn settle<R: Row>(written: &R, found: Option<&R>) -> Settled {
    match found {
        Some(row) if row == written => Settled::Applied,
        Some(row) if row.version() >= written.version() => Settled::Overtaken,
        Some(_) | None => Settled::NotApplied,
    }
}

/// The cells in which earlier rows of a home have left copies by place.
pub(super) fn cells_left(home: &Home, trail: &[Home]) -> BTreeSet<Cell> {
    let here = Cell::of(home.point);
    trail.iter().map(|earlier| Cell::of(earlier.point)).filter(|cell| *cell != here || home.deleted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use porchlight_domain::{ChosenId, HomeId, HouseholdId, Point, Timestamp, Version};
    use uuid::Uuid;

    fn home(version: u64, lon_e7: i32, deleted: bool) -> Home {
        Home {
            id: HomeId(Uuid::nil()),
            chosen: ChosenId(Uuid::nil()),
            household: HouseholdId(Uuid::nil()),
            name: String::new(),
            point: Point { lon_e7, lat_e7: 0 },
            verified: false,
            deleted,
            since: Timestamp(0),
            version: Version(version),
        }
    }

    #[test]
    fn a_write_without_an_answer_is_judged_by_the_row() {
        let written = home(2, 5, false);
        assert_eq!(settle(&written, Some(&home(2, 5, false))), Settled::Applied);
        assert_eq!(settle(&written, Some(&home(1, 5, false))), Settled::NotApplied);
        assert_eq!(settle(&written, None), Settled::NotApplied);
        assert_eq!(settle(&written, Some(&home(2, 6, false))), Settled::Overtaken, "another writer's version 2");
        assert_eq!(settle(&written, Some(&home(3, 5, false))), Settled::Overtaken);
    }

    #[test]
    fn a_home_leaves_every_cell_but_its_own() {
        const CELL: i32 = 1 << Cell::SHIFT;
        let trail = [home(1, 0, false), home(2, CELL, false), home(3, 7, false)];
        let left = |home| cells_left(&home, &trail).into_iter().map(|c| c.x).collect::<Vec<_>>();
        assert_eq!(left(home(4, 9, false)), [1], "back in the first cell");
        assert_eq!(left(home(4, 2 * CELL, false)), [0, 1]);
        assert_eq!(left(home(4, 9, true)), [0, 1], "a home that is gone leaves its own cell too");
    }
}
