//! What is to be thought of a database. Pure: nothing is asked here.

use porchlight_store::Examination;

use super::finding::Finding;

/// Copies of each row that a deployment for people keeps: with one away, two still agree.
const COPIES: u32 = 3;

/// All that is to be said of what was found; or that it was not reached.
pub(super) fn findings(keyspace: &str, answer: &Result<Examination, String>) -> Vec<Finding> {
    let found = match answer {
        Ok(found) => found,
        Err(sentence) => return vec![Finding::fail("cql", sentence)],
    };
    let mut all = vec![reached(found.nodes)];
    let what = format!("keyspace {keyspace}");
    let Some(copies) = found.replication else {
        let apply = "it does not exist: run `porchlight schema apply --replication 3`";
        all.push(Finding::fail(what, apply));
        return all;
    };
    all.push(kept(what, found.nodes, copies));
    all.push(match &found.schema {
        Ok(()) => Finding::ok("schema", "it is that of this version"),
        Err(sentence) => Finding::fail("schema", sentence),
    });
    all.push(match &found.conditional_write {
        Ok(took) => {
            Finding::ok("conditional write", format!("applied, refused and applied in {} ms", took.as_millis()))
        }
        Err(sentence) => Finding::fail(
            "conditional write",
            format!("{sentence} (a quorum of the copies must be up, and ScyllaDB's keyspace without tablets)"),
        ),
    });
    all
}

fn reached(nodes: usize) -> Finding {
    match nodes {
        1 => Finding::warn("cql", "one node: it is lost with its disk, and away with its machine; have three"),
        2 => Finding::warn("cql", "two nodes: with one away no quorum answers; have three"),
        nodes => Finding::ok("cql", format!("{nodes} nodes are in our data centre")),
    }
}

fn kept(what: String, nodes: usize, copies: u32) -> Finding {
    let alter = format!("ALTER KEYSPACE ... WITH replication to {COPIES}, then repair every node (nodetool repair)");
    match copies {
        0 => Finding::fail(what, "it keeps no copy in cql.datacenter: name the data centre that has it, or alter it"),
        COPIES.. => match usize::try_from(copies) {
            Ok(copies) if copies <= nodes => Finding::ok(what, format!("each row is kept {copies} times")),
            _ => Finding::fail(
                what,
                format!("each row is to be kept {copies} times, and there are {nodes} nodes: add some"),
            ),
        },
        copies if nodes >= 3 => {
            Finding::fail(what, format!("each row is kept {copies} times: one lost disk loses rows; {alter}"))
        }
        copies => Finding::warn(what, format!("each row is kept {copies} times, of {COPIES}: enough for trying only")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    fn well() -> Examination {
        Examination { nodes: 3, replication: Some(3), schema: Ok(()), conditional_write: Ok(Duration::from_millis(7)) }
    }

    fn verdicts(found: Examination) -> Vec<Verdict> {
        findings("porchlight", &Ok(found)).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn three_nodes_with_three_copies_are_well() {
        assert_eq!(verdicts(well()), [Verdict::Ok; 4]);
    }

    #[test]
    fn each_thing_that_is_wrong_fails_alone() {
        use Verdict::{Fail, Ok, Warn};
        let refused = || Err("another version: run `porchlight schema apply`".to_owned());
        assert_eq!(verdicts(Examination { schema: refused(), ..well() }), [Ok, Ok, Fail, Ok]);
        let timed_out = || Result::Err("no quorum".to_owned());
        assert_eq!(verdicts(Examination { conditional_write: timed_out(), ..well() }), [Ok, Ok, Ok, Fail]);
        for (nodes, copies, verdict) in [
            (3, 1, Fail),
            (3, 2, Fail),
            (3, 0, Fail),
            (5, 3, Ok),
            (1, 1, Warn),
            (2, 2, Warn),
            (2, 3, Fail),
            (1, 0, Fail),
        ] {
            let found = verdicts(Examination { nodes, replication: Some(copies), ..well() });
            assert_eq!(found[1], verdict, "{copies} copies on {nodes} nodes");
        }
        assert_eq!(verdicts(Examination { nodes: 1, ..well() })[0], Warn);
        assert_eq!(verdicts(Examination { nodes: 2, ..well() })[0], Warn);
    }

    #[test]
    fn what_is_not_there_says_how_to_make_it_and_what_was_not_reached_why() {
        let all = findings("porchlight", &Ok(Examination { replication: None, ..well() }));
        assert!(all.len() == 2 && all[1].sentence.contains("porchlight schema apply"), "{all:?}");
        assert_eq!(findings("porchlight", &Err("away".into())), [Finding::fail("cql", "away")]);
    }
}
