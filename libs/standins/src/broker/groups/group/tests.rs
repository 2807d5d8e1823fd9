#![allow(clippy::unwrap_used)]
use super::*;

const SESSION: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A group, and a clock that stands still unless it is moved.
struct Hall {
    group: Group,
    now: Instant,
}

impl Hall {
    fn new() -> Self {
        Self { group: Group::default(), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
    }

    fn join(&mut self, id: &str, wants: &'static str) -> i32 {
        self.group.promise(id.into(), SESSION, self.now);
        self.join_again(id, wants).unwrap()
    }

    fn join_again(&mut self, id: &str, wants: &'static str) -> Result<i32, ErrorCode> {
        let protocols = vec![("sticky".to_owned(), Bytes::from_static(wants.as_bytes()))];
        let joining = Joining { kind: "consumer".into(), protocols, session: SESSION, patience: PATIENCE };
        self.group.join(id, joining, self.now)
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), ErrorCode> {
        self.group.heartbeat(id, generation, self.now)
    }

    fn commit(&mut self, id: &str, generation: i32) -> Result<(), ErrorCode> {
        self.group.commit(id, generation, self.now)
    }

    /// The leader, alone or not, shares out.
    fn share(&mut self, id: &str, generation: i32, shares: &[(&str, &'static str)]) -> Bytes {
        let shares: Vec<_> = shares.iter().map(|(id, s)| ((*id).into(), Bytes::from_static(s.as_bytes()))).collect();
        self.group.sync(id, generation, &shares, self.now).unwrap().unwrap()
    }

    /// "a" alone, with its share.
    fn of_one() -> Self {
        let mut hall = Self::new();
        let over = hall.join("a", "a0");
        assert_eq!(hall.group.joined("a", over).unwrap().unwrap().leader, "a");
        assert_eq!(hall.share("a", 1, &[("a", "all")]), "all");
        hall
    }
}

#[test]
fn a_round_waits_for_all_members_and_only_the_leader_learns_who_they_are() {
    let mut hall = Hall::of_one();
    let over = hall.join("b", "b0");
    assert_eq!(hall.group.joined("b", over), None, "a has not joined");
    assert_eq!(hall.heartbeat("a", 1), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(hall.commit("a", 1), Ok(()), "what it has done may still be said");
    hall.join_again("a", "a1").unwrap();
    let a = hall.group.joined("a", over).unwrap().unwrap();
    let members = vec![("a".to_owned(), Bytes::from_static(b"a1")), ("b".to_owned(), Bytes::from_static(b"b0"))];
    assert_eq!((a.generation, a.leader.as_str(), a.protocol.as_str(), a.members), (2, "a", "sticky", members));
    let b = hall.group.joined("b", over).unwrap().unwrap();
    assert_eq!((b.generation, b.leader.as_str(), b.members), (2, "a", vec![]));
    // Nobody has a share before the leader has brought them.
    assert_eq!(hall.group.sync("b", 2, &[], hall.now), None);
    assert_eq!(hall.commit("a", 2), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(hall.share("a", 2, &[("a", "half"), ("b", "other half")]), "half");
    assert_eq!(hall.share("b", 2, &[]), "other half");
    assert_eq!((hall.heartbeat("a", 2), hall.heartbeat("b", 2)), (Ok(()), Ok(())));
}

#[test]
fn a_commit_of_before_or_of_an_outsider_is_refused_while_somebody_is_there() {
    let mut hall = Hall::of_one();
    assert_eq!(hall.commit("a", 1), Ok(()));
    assert_eq!(hall.commit("a", 0), Err(ErrorCode::IllegalGeneration));
    assert_eq!(hall.commit("", -1), Err(ErrorCode::UnknownMemberId));
    assert!(hall.group.leave("a", hall.now));
    assert_eq!(hall.commit("a", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(hall.commit("", -1), Ok(()), "nobody is there");
}

#[test]
fn a_silent_member_goes_after_its_session_and_the_others_share_anew() {
    let mut hall = Hall::of_one();
    let over = hall.join("b", "b0");
    hall.pass(SESSION - Duration::from_secs(1));
    assert_eq!(hall.group.joined("b", over), None, "a may still come");
    hall.pass(Duration::from_secs(1));
    let b = hall.group.joined("b", over).unwrap().unwrap();
    assert_eq!((b.generation, b.leader.as_str(), b.members.len()), (2, "b", 1));
    assert_eq!(hall.heartbeat("a", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(hall.join_again("a", "a0"), Err(ErrorCode::UnknownMemberId), "it has to ask for an id again");
}

#[test]
fn a_round_ends_without_a_member_that_lives_and_does_not_join() {
    let mut hall = Hall::of_one();
    let over = hall.join("b", "b0");
    for _ in 0..12 {
        hall.pass(PATIENCE / 12);
        let _ = hall.heartbeat("a", 1);
    }
    assert_eq!(hall.group.joined("b", over).unwrap().unwrap().generation, 2);
    assert_eq!(hall.heartbeat("a", 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn who_wants_the_same_again_is_told_the_same_again() {
    let mut hall = Hall::of_one();
    let over = hall.join("b", "b0");
    hall.join_again("a", "a0").unwrap();
    hall.share("a", 2, &[("a", "half"), ("b", "other half")]);
    let again = hall.join_again("b", "b0").unwrap();
    assert_eq!((again, hall.group.joined("b", again).unwrap().unwrap().generation), (over, 2));
    assert_eq!(hall.share("b", 2, &[]), "other half");
    // The leader joins again because it wants to share out again.
    hall.join_again("a", "a0").unwrap();
    assert_eq!(hall.heartbeat("b", 2), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn who_goes_leaves_the_rest_to_share_anew() {
    let mut hall = Hall::of_one();
    hall.join("b", "b0");
    hall.join_again("a", "a0").unwrap();
    hall.share("a", 2, &[("a", "half"), ("b", "other half")]);
    assert!(hall.group.leave("a", hall.now));
    assert!(!hall.group.leave("a", hall.now));
    assert_eq!(hall.heartbeat("b", 2), Err(ErrorCode::RebalanceInProgress));
    let over = hall.join_again("b", "b1").unwrap();
    assert_eq!(hall.group.joined("b", over).unwrap().unwrap().leader, "b");
}

#[test]
fn an_id_is_promised_for_a_while_and_protocols_must_agree() {
    let mut hall = Hall::of_one();
    hall.group.promise("late".into(), SESSION, hall.now);
    hall.now += SESSION;
    hall.group.heartbeat("a", 1, hall.now).unwrap();
    hall.pass(Duration::ZERO);
    assert_eq!(hall.join_again("late", "x"), Err(ErrorCode::UnknownMemberId));
    hall.group.promise("other".into(), SESSION, hall.now);
    let joining = Joining {
        kind: "consumer".into(),
        protocols: vec![("range".into(), Bytes::new())],
        session: SESSION,
        patience: PATIENCE,
    };
    assert_eq!(hall.group.join("other", joining, hall.now), Err(ErrorCode::InconsistentGroupProtocol));
}
