//! The command line: what can be asked for, and how it is answered. Each command returns what it has to say; only this
//! file writes and decides exit codes. What is too long to be held (`geo locate`, `geo synth`) is written as it comes.

mod audit;
mod config;
mod dead_letters;
mod doctor;
mod geo;
mod grant_key;
mod media;
mod moment;
mod neighborhoods;
mod operator;
mod output;
mod reference;
mod replay;
mod schema;
mod servers;
mod topics;
mod vapid;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, error::ErrorKind};
use porchlight_bus::KafkaConfig;
use porchlight_chassis::{config::LogConfig, telemetry};
use porchlight_clips::S3Config;
use porchlight_store::CqlConfig;

use output::{progress, say};

/// `EX_USAGE` of sysexits.h: what was asked for cannot be.
const USAGE: u8 = 64;
/// What blocking calls may take after a command is done.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// Porchlight's command line: for operators, and for trying it out.
#[derive(Parser, Debug)]
#[command(name = "porchlight", version, after_help = "Exit codes: 0 done, 1 failed, 64 asked for what cannot be.")]
struct Cli {
    /// TOML that overrides the defaults (`porchlight config porchlight` prints them); the environment overrides both.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log what is being done, not only what goes wrong.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Kafka, Cassandra and an S3 server on this machine, for trying and testing.
    #[command(subcommand)]
    Servers(servers::Command),
    /// The tables.
    #[command(subcommand)]
    Schema(schema::Command),
    /// The topics.
    #[command(subcommand)]
    Topics(topics::Command),
    /// The records that no service could handle.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// The operators.
    #[command(subcommand)]
    Operator(operator::Command),
    /// The neighborhoods.
    #[command(subcommand)]
    Neighborhoods(neighborhoods::Command),
    /// The polygons of a GeoJSON file, without any server: check them, draw them, ask them, measure them.
    #[command(subcommand)]
    Geo(geo::Command),
    /// The key by which push services know this deployment (VAPID, RFC 8292).
    #[command(subcommand)]
    Vapid(vapid::Command),
    /// The key that signs grants of uploads.
    #[command(subcommand)]
    GrantKey(grant_key::Command),
    /// The clips and thumbnails on disk.
    #[command(subcommand)]
    Media(media::Command),
    Replay(replay::Args),
    /// Whether what came in is what came out.
    #[command(subcommand)]
    Audit(audit::Command),
    /// A whole network on this machine, with people in it.
    City(crate::city::Args),
    /// A whole network on this machine that is killed, frozen and cut off at random moments, and counted at the end.
    Crash(crate::crash::Args),
    Doctor(doctor::Args),
    /// Print every setting of a program, its default and what it means.
    Config(config::Args),
}

/// Why a command was not done, in one or two lines that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for, or a setting, cannot be: another try cannot help.
    #[error("{0}")]
    Usage(String),
    /// It did not work out.
    #[error("{0}")]
    Failed(String),
    /// It was done, and what it found is not as it should be: the report, which is the result.
    #[error("{0}")]
    Found(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::Failed(_) | Self::Found(_) => ExitCode::FAILURE,
        }
    }
}

/// The settings of the command line (`default.toml`).
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    kafka: KafkaConfig,
    cql: CqlConfig,
    /// Not checked when it is read: few commands need it, and they do.
    s3: S3Config,
}

impl Config {
    fn load(file: Option<&std::path::Path>) -> Result<Self, Failure> {
        config::load(config::Program::Porchlight, file)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Whoever closed our output wants to hear no more.
            let _ = answer.print();
            return match answer.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    match run(cli) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            match &failure {
                Failure::Found(report) => say(report),
                Failure::Usage(_) | Failure::Failed(_) => progress(&format!("porchlight: {failure}")),
            }
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<String, Failure> {
    // What the database's driver calls an error is in the failure's own text.
    let quiet = "error,scylla=off";
    let filter = if cli.verbose { "info" } else { quiet };
    let log = LogConfig { format: "text".to_owned(), filter: filter.to_owned() };
    telemetry::init("porchlight", &log).map_err(|e| Failure::Usage(e.to_string()))?;
    let config = || Config::load(cli.config.as_deref());
    match cli.command {
        Command::Servers(command) => servers::run(command),
        Command::Config(args) => Ok(config::run(args)),
        Command::Doctor(args) => wait_for(doctor::run(args, cli.config.as_deref())),
        Command::Geo(command) => geo::run(command),
        Command::Vapid(command) => Ok(vapid::run(command)),
        Command::GrantKey(command) => Ok(grant_key::run(command)),
        Command::Media(command) => wait_for(media::run(command, config()?)),
        Command::Audit(command) => wait_for(audit::run(command, config()?)),
        Command::Schema(command) => wait_for(schema::run(command, config()?)),
        Command::Topics(command) => wait_for(topics::run(command, config()?)),
        Command::DeadLetters(command) => wait_for(dead_letters::run(command, config()?)),
        Command::Replay(args) => wait_for(replay::run(args, config()?)),
        Command::Operator(command) => wait_for(operator::run(command, config()?)),
        Command::City(args) => {
            let lived = async { crate::city::run(args).await.map_err(Failure::Failed) };
            wait_for(async { lived.await.map(|()| String::new()) })
        }
        Command::Crash(args) => {
            let report = wait_for(async { crate::crash::run(&args, &progress).await.map_err(Failure::Failed) })?;
            if report.failures().is_empty() { Ok(report.to_string()) } else { Err(Failure::Found(report.to_string())) }
        }
        Command::Neighborhoods(command) => wait_for(neighborhoods::run(command)),
    }
}

fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Failure::Failed(format!("no runtime: {e}")))?;
    let answer = runtime.block_on(command);
    // A client library that blocks in its destructor must not keep a command that is done.
    runtime.shutdown_timeout(LAST_BREATH);
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound_and_every_command_says_what_it_does() {
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no text", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no text", command.get_name(), argument.get_id());
            }
            if !command.has_subcommands() && command.get_name() != "porchlight" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("porchlight "), "{} shows no example", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        Cli::command().debug_assert();
        look(&Cli::command());
    }

    #[test]
    fn the_defaults_are_complete() {
        let config: Config = porchlight_chassis::config::load(crate::DEFAULT_TOML, None, []).unwrap();
        config.kafka.check().unwrap();
        assert!(config.s3.check().unwrap_err().contains("s3.access_key_id"), "all that is missing");
    }

    #[test]
    fn what_cannot_be_differs_from_what_failed() {
        assert_eq!(Failure::Usage(String::new()).exit_code(), ExitCode::from(64));
        assert_eq!(Failure::Failed(String::new()).exit_code(), ExitCode::from(1));
        assert_eq!(Failure::Found(String::new()).exit_code(), ExitCode::from(1));
    }
}
