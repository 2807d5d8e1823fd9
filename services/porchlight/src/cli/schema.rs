//! `porchlight schema`: the tables.

use clap::Subcommand;

use super::{Config, Failure};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make the keyspace and the tables that are missing, or the folder of an embedded store. Safe to repeat, and at the
    /// same time from several places.
    #[command(after_help = "Examples:\n  porchlight schema apply\n  porchlight --config production.toml schema apply \
        --replication 3")]
    Apply {
        /// Copies of each row, if the keyspace is made now.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        replication: u8,
    },
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    let Command::Apply { replication } = command;
    let cql = &config.cql;
    let (place, named) = match cql.embedded() {
        Some(folder) => (format!("folder {}", folder.display()), format!("cql.folder is {}", folder.display())),
        None => {
            (format!("keyspace {}", cql.keyspace), format!("cql.contact_points is {}", cql.contact_points.join(", ")))
        }
    };
    let applied = porchlight_store::apply_schema(cql, replication).await;
    let applied = applied.map_err(|e| Failure::Failed(format!("{e}\n({named})")))?;
    Ok(match applied.as_slice() {
        [] => format!("{place}: nothing to do\n"),
        applied => format!("{place}: applied {}\n", applied.join(", ")),
    })
}
