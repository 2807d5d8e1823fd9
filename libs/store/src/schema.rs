//! The CQL schema as this version knows it: the numbered files of `schema/`, in order, and the statements in them.

use sha2::{Digest as _, Sha256};

/// A numbered file. Once applied anywhere it never changes: a change is a new file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    /// Its name without the ending.
    pub(crate) name: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!("../schema/", $name, ".cql")) }),+]
    };
}

/// Every file, in the order of application.
pub(crate) const FILES: &[File] = files!["0001_registry", "0002_timeline", "0003_deliveries", "0004_media"];

impl File {
    /// Its statements, without comments and with single spaces: what is sent, and what the checksum covers.
    pub(crate) fn statements(&self) -> Vec<String> {
        let code: Vec<&str> =
            self.text.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code)).collect();
        code.join(" ")
            .split(';')
            .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|statement| !statement.is_empty())
            .collect()
    }

    /// SHA-256 of the statements, hexadecimal. A corrected comment changes nothing.
    pub(crate) fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        for statement in self.statements() {
            hash.update(statement.as_bytes());
            hash.update(b";");
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long topics keep events: an erasure's tombstone must outlive every replay.
    const TOPIC_RETENTION_S: u64 = 72 * 3600;

    #[test]
    fn files_are_numbered_without_gaps_and_none_of_the_folder_is_forgotten() {
        for (i, file) in FILES.iter().enumerate() {
            assert!(file.name.starts_with(&format!("{:04}_", i + 1)), "{}", file.name);
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).expect("the folder is there");
        assert_eq!(folder.count(), FILES.len());
    }

    /// Applied files never change. A failure here means: write a new file instead.
    #[test]
    fn checksums_are_pinned() {
        let sums: Vec<_> = FILES.iter().map(|f| (f.name, f.checksum()[..16].to_owned())).collect();
        let expected = [
            ("0001_registry", "aa1b4a8de93be77a"),
            ("0002_timeline", "094d8632ddb4c36d"),
            ("0003_deliveries", "3730a0cdb4dbe809"),
            ("0004_media", "230d090e59a82f7d"),
        ];
        assert_eq!(sums, expected.map(|(name, sum)| (name, sum.to_owned())));
    }

    #[test]
    fn a_comment_is_not_part_of_the_checksum_but_a_column_is() {
        let file = |text| File { name: "x", text };
        let plain = file("CREATE TABLE a (b int);").checksum();
        assert_eq!(plain, file("-- why; not\nCREATE TABLE a\n  (b int); -- so\n").checksum());
        assert_ne!(plain, file("CREATE TABLE a (b bigint);").checksum());
    }

    /// A crash between two statements repeats a file: each must be harmless twice.
    #[test]
    fn every_statement_may_be_repeated() {
        for statement in FILES.iter().flat_map(File::statements) {
            // Of an addition, the migration takes "it is there" for done.
            let words: Vec<&str> = statement.split(' ').collect();
            let adds_one = matches!(words[..], ["ALTER", "TABLE", _, "ADD", ..]) && !statement.contains(" ADD (");
            assert!(adds_one || statement.starts_with("CREATE TABLE IF NOT EXISTS "), "{statement}");
            assert!(!statement.contains('\''), "the splitter knows no strings: {statement}");
        }
    }

    /// Old and new run side by side during an upgrade, and the old one again after a roll-back (docs/MIGRATIONS.md): so a
    /// file adds tables and columns, and takes away, renames or retypes none; and no statement depends on which columns
    /// there are.
    #[test]
    fn a_change_only_adds_so_that_the_version_before_goes_on() {
        for statement in FILES.iter().flat_map(File::statements) {
            let adds = statement.starts_with("CREATE TABLE IF NOT EXISTS ")
                || (statement.starts_with("ALTER TABLE ") && statement.split(' ').nth(3) == Some("ADD"));
            assert!(adds, "{statement}");
        }
        let adapter =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scylla")).expect("the folder is there");
        for file in adapter.flatten() {
            let code = std::fs::read_to_string(file.path()).expect("text");
            assert!(!code.contains("SELECT *"), "{}", file.path().display());
        }
    }

    #[test]
    fn only_what_both_databases_know() {
        for statement in FILES.iter().flat_map(File::statements) {
            let lower = statement.to_lowercase();
            for word in ["counter", "materialized", "sai", "unifiedcompaction", "timewindow", "custom index", "vector<"]
            {
                assert!(!lower.contains(word), "{word} in {statement}");
            }
        }
    }

    #[test]
    fn g6_a_tombstone_outlives_every_replay() {
        for statement in FILES.iter().flat_map(File::statements).filter(|s| s.starts_with("CREATE TABLE")) {
            let grace = statement.split("gc_grace_seconds = ").nth(1).expect("each table says it");
            let seconds: u64 = grace.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
            assert!(seconds > TOPIC_RETENTION_S, "{statement}");
        }
    }

    #[test]
    fn every_table_says_its_query_its_partition_and_its_expiry() {
        for file in FILES {
            for table in file.text.split("CREATE TABLE IF NOT EXISTS ").collect::<Vec<_>>().windows(2) {
                let comment = table[0].rsplit("\n\n").next().expect("something stands before it");
                for word in ["-- Query: ", "-- Partition: ", "-- Expiry: "] {
                    assert!(comment.contains(word), "{word}is missing before {}", &table[1][..20]);
                }
            }
        }
    }

    #[test]
    fn every_added_column_says_what_it_is() {
        for file in FILES {
            for addition in file.text.split("ALTER TABLE ").collect::<Vec<_>>().windows(2) {
                let comment = addition[0].rsplit("\n\n").next().expect("something stands before it");
                assert!(comment.starts_with("-- "), "nothing is said before {}", &addition[1][..20]);
            }
        }
    }

    /// No column for a face, an embedding or a plate; none is to be added.
    #[test]
    fn g7_no_column_for_biometrics() {
        for statement in FILES.iter().flat_map(File::statements) {
            for word in ["face", "embedding", "plate", "biometric", "person_name"] {
                assert!(!statement.contains(word), "{word} in {statement}");
            }
        }
    }
}
