//! `porchlight dead-letters`: the records that no service could handle, and putting them back.

mod content;
mod list;
mod redrive;
mod select;
mod show;

use clap::Subcommand;
use porchlight_bus::{BusError, From, KafkaConfig, Letters};
use porchlight_domain::Timestamp;

use super::{Config, Failure, output::progress};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// List the dead letters that were not put back yet, newest last, and below them how many there are of each stage and
    /// reason. A letter that was buried several times (a crash before the commit repeats it) is listed once.
    #[command(after_help = "Examples:\n  porchlight dead-letters list --since 2h\n  \
        porchlight dead-letters list --stage geo-index --reason \"field kind\" --limit 500\n  \
        porchlight dead-letters list --all --json | jq -r .letter")]
    List(list::Args),
    /// Show all there is to know of one dead letter: where it came from, why it failed, its headers, and what it says, if
    /// it can be read. No places, and no hashes of credentials.
    #[command(after_help = "Examples:\n  porchlight dead-letters show 3:41\n  \
        porchlight dead-letters show 3:41 --raw letter.bin   # its untouched bytes: they may hold a place")]
    Show(show::Args),
    /// Put dead letters back onto the topics that they came from: key, value and headers as they were, and one more
    /// header, porchlight-redriven, that names the letter. One after the other, each durable before the next.
    #[command(
        after_help = "Examples:\n  porchlight dead-letters redrive 3:41 3:42\n  \
        porchlight dead-letters redrive --stage geo-index --reason \"field kind\" --dry-run\n  \
        porchlight dead-letters redrive --all --since 2h --limit 100",
        after_long_help = "Examples:\n  porchlight dead-letters redrive 3:41 3:42\n  \
        porchlight dead-letters redrive --stage geo-index --reason \"field kind\" --dry-run\n  \
        porchlight dead-letters redrive --all --since 2h --limit 100\n\n\
        Mend the cause first: what fails again becomes a new letter, under a new name.\n\n\
        A letter that was put back is listed no more (list --all shows it) and is not put back again. If this command is \
        killed between putting one back and noting that, it is put back twice at worst: whoever handles it knows it by \
        its identity, and doing it twice is doing it once.\n\n\
        A record that was put back stands behind all that came meanwhile. Its age is its own: an event later than ten \
        minutes is kept and pushed to nobody, an alert or a push that has expired is dropped, an event past its \
        retention leaves nothing. Events and alerts are kept by their topics for 72 h, pushes for 24 h, counted anew from \
        now; letters for 14 days, counted from their failure.\n\n\
        Refused: topics of another deployment (another kafka.topic_prefix), and devices and neighborhoods, where an old \
        record must not come after a newer one (see porchlight topics rebuild). All readers of a topic meet what is put \
        back onto it, not only the one that failed.\n\n\
        Exit codes: 0 all is put back (now or before), 1 something is not, 64 asked for what cannot be."
    )]
    Redrive(redrive::Args),
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    match command {
        Command::List(args) => list::run(args, &config.kafka).await,
        Command::Show(args) => show::run(args, &config.kafka).await,
        Command::Redrive(args) => redrive::run(args, &config.kafka).await,
    }
}

async fn read(kafka: &KafkaConfig, since: Option<Timestamp>) -> Result<Letters, Failure> {
    let from = since.map_or(From::Beginning, |since| From::Time(since.0));
    let read = porchlight_bus::letters(kafka, from, |n| progress(&format!("{n} records read"))).await;
    read.map_err(|error| failed(&error, kafka))
}

fn failed(error: &BusError, kafka: &KafkaConfig) -> Failure {
    match error {
        BusError::Config(sentence) => Failure::Usage(sentence.clone()),
        BusError::Kafka(_) | BusError::Stopped { .. } => {
            Failure::Failed(format!("{error}\n(kafka.bootstrap_servers is {})", kafka.bootstrap_servers))
        }
    }
}

/// What others wrote, for a terminal: nothing in it moves the cursor or begins a line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests;
