//! `porchlight dead-letters redrive`.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use clap::ArgGroup;
use porchlight_bus::{Contents, KafkaConfig, Letter, LetterName, RedriveError, Redriven, Redriver};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Failure,
        output::{progress, table},
    },
    failed, printable, read,
    select::Filter,
    show::unknown,
};

/// How many are put back between two lines of progress.
const TELL_EVERY: usize = 100;

#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("selector").required(true).multiple(true)
    .args(["letters", "stage", "topic", "reason", "all"]))]
pub(in crate::cli) struct Args {
    /// Their names, as list tells them.
    #[arg(value_name = "LETTER", conflicts_with_all = ["stage", "topic", "reason", "since", "all"])]
    letters: Vec<LetterName>,
    #[command(flatten)]
    filter: Filter,
    /// All that were not put back yet.
    #[arg(long, conflicts_with_all = ["stage", "topic", "reason"])]
    all: bool,
    /// At most so many, the oldest first.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What became of a letter.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    WouldBePutBack,
    PutBack(Redriven),
    /// By an earlier command.
    Already(Redriven),
    /// A sentence.
    Failed(String),
    /// Its record was deleted while this command ran.
    Gone,
    /// The command was stopped, or the brokers went away, before its turn.
    NotTried,
}

impl Outcome {
    fn is_well(&self) -> bool {
        match self {
            Self::WouldBePutBack | Self::PutBack(_) | Self::Already(_) => true,
            Self::Failed(_) | Self::Gone | Self::NotTried => false,
        }
    }

    fn tell(&self, topic: &str) -> String {
        match self {
            Self::WouldBePutBack => format!("would be put back onto {topic}"),
            Self::PutBack(Redriven { partition, offset, .. }) => format!("put back as {topic}/{partition}/{offset}"),
            Self::Already(Redriven { at, partition, offset }) => {
                format!("done already: put back {at} as {topic}/{partition}/{offset}")
            }
            Self::Failed(sentence) => sentence.clone(),
            Self::Gone => "gone: the topic of dead letters keeps it no longer".to_owned(),
            Self::NotTried => "not tried".to_owned(),
        }
    }
}

/// The letters meant, each once, and what became of them.
pub(super) struct Work<'a> {
    chosen: Vec<&'a Letter>,
    /// How many were left out by the limit.
    left: usize,
    outcomes: BTreeMap<LetterName, Outcome>,
}

impl<'a> Work<'a> {
    /// Chooses, and decides on all that can be decided without reading the letters' bytes.
    pub(super) fn plan(letters: &'a [Letter], args: &Args, kafka: &KafkaConfig) -> Result<Self, Failure> {
        let mut chosen: Vec<&Letter> = if args.letters.is_empty() {
            letters.iter().filter(|l| l.redriven.is_none() && args.filter.admits(l, kafka)).collect()
        } else {
            let mut meant = BTreeSet::new();
            for &name in &args.letters {
                let at = letters.iter().position(|letter| letter.is_called(name)).ok_or_else(|| unknown(name))?;
                meant.insert(at);
            }
            meant.into_iter().map(|at| &letters[at]).collect()
        };
        let most = args.limit.map_or(usize::MAX, NonZeroUsize::get);
        let left = chosen.len().saturating_sub(most);
        chosen.truncate(most);
        let outcome = |letter: &&Letter| match (letter.redriven, Redriver::target(kafka, &letter.origin.topic)) {
            (Some(redriven), _) => Outcome::Already(redriven),
            (None, Err(refused)) => Outcome::Failed(refused.to_string()),
            (None, Ok(_)) if args.dry_run => Outcome::WouldBePutBack,
            (None, Ok(_)) => Outcome::NotTried,
        };
        let outcomes = chosen.iter().map(|letter| (letter.name, outcome(letter))).collect();
        Ok(Self { chosen, left, outcomes })
    }

    /// Those whose turn has not come.
    pub(super) fn open(&self) -> Vec<&'a Letter> {
        let is_open = |letter: &&&Letter| self.outcomes.get(&letter.name) == Some(&Outcome::NotTried);
        self.chosen.iter().filter(is_open).copied().collect()
    }

    /// What became of each; an error if something is not as was asked for.
    pub(super) fn report(&self, dry_run: bool) -> Result<String, Failure> {
        if self.chosen.is_empty() {
            return Ok("no dead letters to put back\n".to_owned());
        }
        let rows: Vec<Vec<String>> = self.chosen.iter().map(|letter| self.row(letter)).collect();
        let mut text = table(&["LETTER", "FROM", "STAGE", "OUTCOME"], &rows);
        let count = |is: fn(&Outcome) -> bool| self.outcomes.values().filter(|outcome| is(outcome)).count();
        let done = count(|o| matches!(o, Outcome::PutBack(_) | Outcome::WouldBePutBack));
        let already = count(|o| matches!(o, Outcome::Already(_)));
        let (verb, bad) = (if dry_run { "would be put back" } else { "put back" }, count(|o| !o.is_well()));
        text += &format!("{done} {verb}, {already} done already, {bad} not");
        text += &if self.left > 0 { format!("; {} more are left by --limit\n", self.left) } else { "\n".to_owned() };
        if dry_run {
            text += "nothing was done (--dry-run)\n";
        }
        if bad == 0 { Ok(text) } else { Err(Failure::Found(text)) }
    }

    fn row(&self, letter: &Letter) -> Vec<String> {
        let origin = &letter.origin;
        let outcome = self.outcomes.get(&letter.name).unwrap_or(&Outcome::NotTried);
        let (from, stage) = (printable(&origin.to_string()), printable(&origin.stage));
        vec![letter.name.to_string(), from, stage, printable(&outcome.tell(&origin.topic))]
    }
}

pub(super) async fn run(args: Args, kafka: &KafkaConfig) -> Result<String, Failure> {
    let found = read(kafka, args.filter.since).await?;
    let mut work = Work::plan(&found.letters, &args, kafka)?;
    if !work.open().is_empty() {
        let stop = CancellationToken::new();
        let doing = put_back(&mut work, kafka, &stop);
        tokio::pin!(doing);
        tokio::select! {
            done = &mut doing => done?,
            // The letter under way is finished, so that it is known what became of it.
            _ = tokio::signal::ctrl_c() => {
                progress("stopping");
                stop.cancel();
                doing.await?;
            }
        }
    }
    work.report(args.dry_run)
}

/// One after the other: those of one key keep their order, and it is known of each what became of it.
async fn put_back(work: &mut Work<'_>, kafka: &KafkaConfig, stop: &CancellationToken) -> Result<(), Failure> {
    let open = work.open();
    let mut gone: BTreeSet<LetterName> = open.iter().map(|letter| letter.name).collect();
    let redriver = Redriver::new(kafka).map_err(|error| failed(&error, kafka))?;
    let mut contents = Contents::of(kafka, &open).await.map_err(|error| failed(&error, kafka))?;
    while let Some(next) = stop.run_until_cancelled(contents.next()).await {
        let next = match next {
            Ok(next) => next,
            // What was done already must be told all the same.
            Err(error) => {
                progress(&error.to_string());
                return Ok(());
            }
        };
        let Some((name, message)) = next else {
            work.outcomes.extend(gone.into_iter().map(|name| (name, Outcome::Gone)));
            return Ok(());
        };
        gone.remove(&name);
        let result = redriver.redrive(name, &message).await;
        let outage = result.as_ref().is_err_and(RedriveError::is_outage);
        let outcome = result.map_or_else(|error| Outcome::Failed(error.to_string()), Outcome::PutBack);
        work.outcomes.insert(name, outcome);
        if outage {
            return Ok(());
        }
        let done = open.len() - gone.len();
        if done.is_multiple_of(TELL_EVERY) {
            progress(&format!("{done} of {} put back", open.len()));
        }
    }
    Ok(())
}
