//! `porchlight dead-letters list`.

use std::{collections::BTreeMap, num::NonZeroUsize};

use porchlight_bus::{KafkaConfig, Letter};
use porchlight_domain::Timestamp;
use serde_json::json;

use super::{
    super::{
        Failure,
        output::{progress, table},
    },
    printable, read,
    select::Filter,
};

/// The longest reason in a table, characters; `show` and `--json` tell it whole.
const MAX_REASON_CHARS: usize = 100;
/// How many kinds of failure are counted each by itself.
const MAX_KINDS: usize = 20;

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// How many are listed, the newest of all.
    #[arg(long, value_name = "N", default_value = "50")]
    limit: NonZeroUsize,
    /// Those too that were put back already.
    #[arg(long)]
    all: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, kafka: &KafkaConfig) -> Result<String, Failure> {
    let found = read(kafka, args.filter.since).await?;
    if found.unreadable > 0 {
        progress(&format!("{} records of the topic are no dead letters at all: left out", found.unreadable));
    }
    let admitted = found.letters.iter().filter(|letter| args.filter.admits(letter, kafka));
    let (redriven, open): (Vec<&Letter>, Vec<&Letter>) = admitted.partition(|letter| letter.redriven.is_some());
    let (hidden, mut letters) = if args.all { (0, [open, redriven].concat()) } else { (redriven.len(), open) };
    letters.sort_unstable_by_key(|letter| (letter.failed_at, letter.name));
    let listed = &letters[letters.len().saturating_sub(args.limit.get())..];
    if args.json {
        if listed.len() < letters.len() {
            progress(&more(letters.len(), listed.len()));
        }
        return Ok(listed.iter().map(|letter| as_json(letter)).collect());
    }
    Ok(describe(&letters, listed, hidden, args.all))
}

fn more(all: usize, listed: usize) -> String {
    format!("{} older ones are not listed: --limit {all} lists them all", all - listed)
}

pub(super) fn as_json(letter: &Letter) -> String {
    let repeats: Vec<String> = letter.repeats.iter().map(ToString::to_string).collect();
    let redriven = letter.redriven.map(|r| json!({ "at": r.at, "partition": r.partition, "offset": r.offset }));
    let line = json!({
        "letter": letter.name.to_string(),
        "repeats": repeats,
        "failed_at": letter.failed_at,
        "stage": &*letter.origin.stage,
        "topic": &*letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "bytes": letter.bytes,
        "reason": &*letter.reason,
        "redriven": redriven,
    });
    format!("{line}\n")
}

/// The table, and the summary of all letters below it, where the eye is.
pub(super) fn describe(letters: &[&Letter], listed: &[&Letter], hidden: usize, with_redriven: bool) -> String {
    let mut text = String::new();
    if letters.is_empty() {
        text += "no dead letters\n";
    } else {
        let mut head = vec!["LETTER", "FAILED AT", "STAGE", "FROM", "BYTES", "REASON"];
        if with_redriven {
            head.insert(5, "PUT BACK");
        }
        text += &table(&head, &listed.iter().map(|letter| row(letter, with_redriven)).collect::<Vec<_>>());
        if listed.len() < letters.len() {
            text += &format!("{}\n", more(letters.len(), listed.len()));
        }
        text += &format!("\n{}", summary(letters));
    }
    if hidden > 0 {
        text += &format!("{hidden} were put back already: --all lists them too\n");
    }
    text
}

fn row(letter: &Letter, with_redriven: bool) -> Vec<String> {
    let mut cells = vec![
        letter.name.to_string(),
        letter.failed_at.to_string(),
        printable(&letter.origin.stage),
        printable(&letter.origin.to_string()),
        letter.bytes.to_string(),
        short(&letter.reason),
    ];
    if with_redriven {
        cells.insert(5, letter.redriven.map_or("no".to_owned(), |redriven| redriven.at.to_string()));
    }
    cells
}

fn short(reason: &str) -> String {
    let mut text = printable(reason);
    if let Some((at, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// How many of each stage and reason, most first.
fn summary(letters: &[&Letter]) -> String {
    let mut kinds: BTreeMap<(&str, &str), (usize, Timestamp)> = BTreeMap::new();
    for letter in letters {
        let kind = kinds.entry((&letter.origin.stage, &letter.reason)).or_default();
        *kind = (kind.0 + 1, kind.1.max(letter.failed_at));
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|&(_, (count, _))| std::cmp::Reverse(count));
    let rows = kinds.iter().take(MAX_KINDS).map(|((stage, reason), (count, newest))| {
        vec![count.to_string(), printable(stage), newest.to_string(), short(reason)]
    });
    let mut text = table(&["COUNT", "STAGE", "NEWEST", "REASON"], &rows.collect::<Vec<_>>());
    if kinds.len() > MAX_KINDS {
        let rest: usize = kinds[MAX_KINDS..].iter().map(|(_, (count, _))| count).sum();
        text += &format!("and {rest} for {} other reasons\n", kinds.len() - MAX_KINDS);
    }
    text
}
