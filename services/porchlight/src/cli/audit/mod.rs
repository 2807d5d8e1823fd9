//! `porchlight audit`: whether what came in is what came out.

use clap::{Args, Subcommand};
use porchlight_domain::{Clock as _, SystemClock, Timestamp};
use porchlight_store::Store;

use super::{Config, Failure, moment::moment, output::progress};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Count what the log holds against the rows that say what became of it: events, alerts, pushes. Exit code 1 if
    /// anything is lost or has no cause. Reads only, at any time, while everything runs.
    #[command(after_help = CONSERVATION_HELP)]
    Conservation(Conservation),
}

const CONSERVATION_HELP: &str = "\
Examples:
  porchlight audit conservation --from 2h
  porchlight audit conservation --from 2026-05-01T17:00:00Z --to 2026-05-01T18:00:00Z --json

Each picture is an equation: on the left what stands in the log, on the right what became of it.
  EVENTS  records of events.v1 = rows by outcome, media, dead letters, and what is in flight (not committed yet)
  ALERTS  revisions to tell phones of = planned, expired before that, told to nobody, dead letters, in flight
  PUSHES  people planned, for each revision = rows by outcome (of several endpoints the most that was reached),
          dead letters, in flight
There are no quiet hours yet, so nothing is held. `past_retention`: rows that have ended by themselves.

What is LOST is below what its stage has committed, and nothing is found of it. What is UNEXPLAINED has no cause in
the log: a row is met only under a device and a day, or an alert, that the range names. Nothing is written of an alert
that expired before it was planned: it is taken for expired if nothing later of its partition was planned before its
end, else for lost.

The timestamps of records decide the range. Tasks are kept for 24 h: whether an older alert was planned is told by its
rows. In memory at once: 40 bytes for each record of events, then 150 for each alert and 64 for each planned person;
above 16 million of them it refuses: audit a long range in pieces. At most 32 reads of the database are under way.";

#[derive(Args, Clone, Debug)]
pub(super) struct Conservation {
    /// Where the range begins: how long ago (`2h`), or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Timestamp,
    /// Where it ends, the same way: now, if it is not said.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// One JSON object instead of pictures.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    let Command::Conservation(Conservation { from, to, json }) = command;
    let to = to.unwrap_or_else(|| SystemClock.now());
    if from >= to {
        return Err(Failure::Usage(format!("the range is empty: --from is {from}, --to is {to}")));
    }
    let store = Store::connect(&config.cql).await.map_err(|e| Failure::Failed(e.to_string()))?;
    let report =
        crate::audit::conservation(&config.kafka, &store, from, to, &progress).await.map_err(Failure::Failed)?;
    let text = if json { to_json(&report)? } else { report.to_string() };
    if report.is_conserved() { Ok(text) } else { Err(Failure::Found(text)) }
}

fn to_json(report: &crate::audit::Report) -> Result<String, Failure> {
    let mut json = serde_json::to_value(report).map_err(|e| Failure::Failed(e.to_string()))?;
    json["conserved"] = report.is_conserved().into();
    Ok(format!("{json}\n"))
}
