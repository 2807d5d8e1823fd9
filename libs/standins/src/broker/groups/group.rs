//! One group, without waiting and without a clock: who is a member, which round they are in, and what each is told.
//!
//! A round begins when somebody comes, goes or wants something else. It ends when all have joined it, or those who have
//! not are out of time; then one of them, the leader, shares out what the group reads.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tansu_sans_io::ErrorCode;

/// A way to share out, by name, and what a member wants in its terms.
pub(super) type Protocol = (String, Bytes);

/// What a member says of itself when it joins.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) kind: String,
    pub(super) protocols: Vec<Protocol>,
    /// A member that is silent for longer is none any more.
    pub(super) session: Duration,
    /// A round waits for it for so long.
    pub(super) patience: Duration,
}

#[derive(Debug)]
struct Member {
    wants: Joining,
    seen: Instant,
    /// Whether it has joined the round that goes on.
    is_in: bool,
    share: Bytes,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Nobody is there.
    #[default]
    Empty,
    /// A round goes on.
    Joining { until: Instant },
    /// Its leader is awaited, who shares out.
    Sharing,
    /// Everybody has their share.
    Stable,
}

/// What a member is told at the end of a round.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) kind: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    /// All members and what they want: for the leader only.
    pub(super) members: Vec<Protocol>,
}

/// A group.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: i32,
    phase: Phase,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were given out and not used yet, and until when they may be.
    promised: BTreeMap<String, Instant>,
}

impl Group {
    /// Gives a newcomer the id to join with. Without this step a client that asks twice would be two members, one of
    /// which nobody speaks for.
    pub(super) fn promise(&mut self, id: String, session: Duration, now: Instant) {
        self.promised.insert(id, now + session);
    }

    /// Joins, or joins again. The generation that is over when the member is to be told ([`Group::joined`]).
    ///
    /// # Errors
    /// It is no member and was promised nothing, or it shares no protocol with the others.
    pub(super) fn join(&mut self, id: &str, wants: Joining, now: Instant) -> Result<i32, ErrorCode> {
        if self.promised.remove(id).is_none() && !self.members.contains_key(id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        let others = self.members.iter().filter(|(other, _)| *other != id).map(|(_, other)| &other.wants);
        if !can_share(&wants, others) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let before = self.members.get(id);
        let is_news = before.is_none_or(|before| before.wants.protocols != wants.protocols) || self.leader == id;
        match self.phase {
            Phase::Sharing | Phase::Stable if !is_news => {
                // It did not hear the last answer.
                self.hear(id, self.generation, now)?;
                return Ok(self.generation - 1);
            }
            Phase::Empty | Phase::Joining { .. } | Phase::Sharing | Phase::Stable => {}
        }
        self.members.insert(id.to_owned(), Member { wants, seen: now, is_in: true, share: Bytes::new() });
        if !matches!(self.phase, Phase::Joining { .. }) {
            self.begin(now);
        }
        let over = self.generation;
        self.tick(now);
        Ok(over)
    }

    /// A round begins. Whoever waits for its end is in it already.
    fn begin(&mut self, now: Instant) {
        let patience = self.members.values().map(|member| member.wants.patience).max().unwrap_or_default();
        self.phase = Phase::Joining { until: now + patience };
    }

    /// What time does. Whether anything changed.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        self.promised.retain(|_, until| *until > now);
        let before = (self.generation, self.members.len());
        // Who waits for the end of a round cannot speak meanwhile.
        self.members.retain(|_, member| member.is_in || member.seen + member.wants.session > now);
        if self.members.len() != before.1 {
            self.somebody_went(now);
        }
        if let Phase::Joining { until } = self.phase
            && (now >= until || self.members.values().all(|member| member.is_in))
        {
            self.end_round(now);
        }
        before != (self.generation, self.members.len())
    }

    fn somebody_went(&mut self, now: Instant) {
        match self.phase {
            Phase::Sharing | Phase::Stable => self.begin(now),
            Phase::Empty | Phase::Joining { .. } => {}
        }
    }

    fn end_round(&mut self, now: Instant) {
        self.members.retain(|_, member| member.is_in);
        self.generation += 1;
        for member in self.members.values_mut() {
            (member.is_in, member.seen, member.share) = (false, now, Bytes::new());
        }
        let Some((first, member)) = self.members.first_key_value() else {
            self.phase = Phase::Empty;
            self.leader.clear();
            return;
        };
        let everybody_knows = |name: &str| self.members.values().all(|other| knows(&other.wants, name));
        let protocol = member.wants.protocols.iter().map(|(name, _)| name).find(|name| everybody_knows(name));
        self.protocol = protocol.cloned().unwrap_or_default();
        if !self.members.contains_key(&self.leader) {
            self.leader = first.clone();
        }
        self.phase = Phase::Sharing;
    }

    /// What a member that joined when `over` was the generation is told; `None` while the round goes on.
    pub(super) fn joined(&self, id: &str, over: i32) -> Option<Result<Joined, ErrorCode>> {
        let Some(member) = self.members.get(id) else { return Some(Err(ErrorCode::UnknownMemberId)) };
        if self.generation == over {
            return None;
        }
        let wants = |member: &Member| {
            member.wants.protocols.iter().find(|(name, _)| *name == self.protocol).map(|(_, wants)| wants.clone())
        };
        let all = self.members.iter().map(|(id, member)| (id.clone(), wants(member).unwrap_or_default()));
        Some(Ok(Joined {
            generation: self.generation,
            kind: member.wants.kind.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: if self.leader == id { all.collect() } else { Vec::new() },
        }))
    }

    /// A member's share; `None` while the leader is awaited. The leader brings all shares.
    pub(super) fn sync(
        &mut self,
        id: &str,
        generation: i32,
        shares: &[Protocol],
        now: Instant,
    ) -> Option<Result<Bytes, ErrorCode>> {
        if let Err(code) = self.hear(id, generation, now) {
            return Some(Err(code));
        }
        match self.phase {
            Phase::Empty | Phase::Joining { .. } => return Some(Err(ErrorCode::RebalanceInProgress)),
            Phase::Sharing if self.leader != id => return None,
            Phase::Sharing => {
                for (member, share) in shares {
                    if let Some(member) = self.members.get_mut(member) {
                        member.share = share.clone();
                    }
                }
                self.phase = Phase::Stable;
            }
            Phase::Stable => {}
        }
        Some(self.members.get(id).map(|member| member.share.clone()).ok_or(ErrorCode::UnknownMemberId))
    }

    /// A member lives, of this generation.
    fn hear(&mut self, id: &str, generation: i32, now: Instant) -> Result<(), ErrorCode> {
        let member = self.members.get_mut(id).ok_or(ErrorCode::UnknownMemberId)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        member.seen = now;
        Ok(())
    }

    /// A heartbeat.
    ///
    /// # Errors
    /// It is none of the members, or has to join again.
    pub(super) fn heartbeat(&mut self, id: &str, generation: i32, now: Instant) -> Result<(), ErrorCode> {
        self.hear(id, generation, now)?;
        match self.phase {
            Phase::Joining { .. } => Err(ErrorCode::RebalanceInProgress),
            Phase::Empty | Phase::Sharing | Phase::Stable => Ok(()),
        }
    }

    /// Whether a commit may be written. An outsider (no id, no generation) may, while nobody is there.
    ///
    /// # Errors
    /// It comes from somebody whose partitions may be another's.
    pub(super) fn commit(&mut self, id: &str, generation: i32, now: Instant) -> Result<(), ErrorCode> {
        if self.members.is_empty() && generation < 0 {
            return Ok(());
        }
        self.hear(id, generation, now)?;
        match self.phase {
            Phase::Sharing => Err(ErrorCode::RebalanceInProgress),
            Phase::Empty | Phase::Joining { .. } | Phase::Stable => Ok(()),
        }
    }

    /// A member goes. Whether it was one.
    pub(super) fn leave(&mut self, id: &str, now: Instant) -> bool {
        let was = self.members.remove(id).is_some() || self.promised.remove(id).is_some();
        self.somebody_went(now);
        self.tick(now);
        was
    }
}

fn knows(wants: &Joining, protocol: &str) -> bool {
    wants.protocols.iter().any(|(name, _)| name == protocol)
}

/// Whether there is a protocol that everybody knows.
fn can_share<'a>(one: &Joining, others: impl Iterator<Item = &'a Joining>) -> bool {
    let others: Vec<_> = others.collect();
    others.iter().all(|other| other.kind == one.kind)
        && one.protocols.iter().any(|(name, _)| others.iter().all(|other| knows(other, name)))
}

#[cfg(test)]
mod tests;
