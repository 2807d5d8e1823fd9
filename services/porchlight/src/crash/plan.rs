//! Which fault comes when. All of it follows from a seed, so that a run can be had again.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::deployment::Service;

/// How many processes each service has, so that one can be away.
pub(super) const REPLICAS: usize = 2;
/// How many brokers there are, so that one can be away.
pub(super) const BROKERS: usize = 3;
/// How long a frozen process stands still: longer than any session, so that others take its work.
const FREEZE: Duration = Duration::from_secs(20);

/// What is hurt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// One process of a service.
    Service(Service, usize),
    /// One broker, from 1.
    Broker(usize),
    /// Cassandra.
    Database,
    /// The S3 server.
    Objects,
}

/// How.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hurt {
    /// SIGKILL, and started again after a while.
    Kill,
    /// SIGSTOP, and SIGCONT after 20 s.
    Freeze,
    /// The connections to it break, and new ones are refused for a while.
    Cut,
    /// SIGTERM, waited for, and started again: what an operator does.
    Restart,
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// How.
    pub hurt: Hurt,
    /// What.
    pub target: Target,
    /// How long nothing is done before it.
    pub calm: Duration,
    /// How long it lasts.
    pub hold: Duration,
}

/// What of a deployment must not be hurt twice at once: nobody promises anything with two of three brokers away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// The processes of a service.
    Service(Service),
    /// The brokers.
    Brokers,
    /// Cassandra.
    Database,
    /// The S3 server.
    Objects,
}

impl Target {
    /// The group it belongs to.
    pub fn group(self) -> Group {
        match self {
            Self::Service(service, _) => Group::Service(service),
            Self::Broker(_) => Group::Brokers,
            Self::Database => Group::Database,
            Self::Objects => Group::Objects,
        }
    }

    /// The name of a server, as the fleet knows it; `None` for a process of a service.
    pub fn server(self) -> Option<String> {
        match self {
            Self::Service(..) => None,
            Self::Broker(n) => Some(format!("kafka-{n}")),
            Self::Database => Some("cassandra".to_owned()),
            Self::Objects => Some("seaweedfs".to_owned()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service(service) => service.name(),
            Self::Brokers => "a broker",
            Self::Database => "Cassandra",
            Self::Objects => "the S3 server",
        })
    }
}

impl fmt::Display for Hurt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Cut => "cut off",
            Self::Restart => "restart",
        })
    }
}

/// Faults without end. They are dealt like cards: in a random order, and all of a deck before the next is mixed, so that
/// no kind is left to luck.
#[derive(Debug)]
pub(super) struct Plan {
    rng: StdRng,
    deck: Vec<(Hurt, Target)>,
}

impl Plan {
    /// The same seed deals the same faults.
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed ^ 0x00fa_0175), deck: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.deck.is_empty() {
            self.deck = deck(&mut self.rng);
            self.deck.shuffle(&mut self.rng);
        }
        let (hurt, target) = self.deck.pop()?;
        let rng = &mut self.rng;
        let mut ms = |from: u64, to: u64| Duration::from_millis(rng.random_range(from..to));
        let calm = ms(0, 1_500);
        let hold = match hurt {
            Hurt::Kill => ms(100, 2_500),
            Hurt::Cut => ms(500, 6_000),
            Hurt::Freeze => FREEZE,
            Hurt::Restart => Duration::ZERO,
        };
        Some(Fault { hurt, target, calm, hold })
    }
}

/// Each kind of fault as often as it should come, with one of its processes.
fn deck(rng: &mut StdRng) -> Vec<(Hurt, Target)> {
    let mut deck = Vec::new();
    let mut add = |times: usize, hurt: Hurt, target: &mut dyn FnMut() -> Target| {
        deck.extend(std::iter::repeat_with(|| (hurt, target())).take(times));
    };
    for service in Service::ALL {
        let mut one = || Target::Service(service, rng.random_range(0..REPLICAS));
        add(4, Hurt::Kill, &mut one);
        add(1, Hurt::Freeze, &mut one);
    }
    let mut broker = || Target::Broker(rng.random_range(1..=BROKERS));
    add(4, Hurt::Kill, &mut broker);
    add(1, Hurt::Freeze, &mut broker);
    add(2, Hurt::Cut, &mut broker);
    for target in [Target::Database, Target::Objects] {
        add(2, Hurt::Kill, &mut || target);
        add(1, Hurt::Freeze, &mut || target);
        add(2, Hurt::Cut, &mut || target);
    }
    deck
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_deals_the_same_faults() {
        let deal = |seed| Plan::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(deal(7), deal(7));
        assert_ne!(deal(7), deal(8));
    }

    #[test]
    fn every_kind_of_fault_comes_within_one_deck() {
        let size = deck(&mut StdRng::seed_from_u64(1)).len();
        let kinds = |faults: &[Fault]| faults.iter().map(|f| (f.hurt, f.target.group())).collect::<BTreeSet<_>>();
        let faults: Vec<Fault> = Plan::new(3).take(2 * size).collect();
        // Seven that can be killed and frozen, three that a proxy stands before.
        assert_eq!(kinds(&faults[..size]).len(), 7 + 7 + 3);
        assert_eq!(kinds(&faults[..size]), kinds(&faults[size..]));
        assert!(faults.iter().all(|f| (f.hurt == Hurt::Freeze) == (f.hold == FREEZE)));
    }
}
