//! The `main` of a service: flags, configuration, logs, runtime, signals, exit code.

use std::{future::Future, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use serde::de::DeserializeOwned;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config::{ConfigError, LogConfig, Sources},
    telemetry,
};

/// `EX_USAGE` of sysexits.h: what was asked for cannot be.
const USAGE: u8 = 64;
/// What blocking calls may take after all is drained.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ask {
    Run(Option<PathBuf>),
    Help,
    Version,
    Defaults,
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<Ask, String> {
    let (mut args, mut file) = (args.into_iter(), None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Ask::Help),
            "--version" | "-V" => return Ok(Ask::Version),
            "--print-default-config" => return Ok(Ask::Defaults),
            "--config" => file = Some(PathBuf::from(args.next().ok_or("--config needs a file")?)),
            other => match other.strip_prefix("--config=") {
                Some(path) => file = Some(PathBuf::from(path)),
                None => return Err(format!("unknown argument {other}; see --help")),
            },
        }
    }
    Ok(Ask::Run(file))
}

/// Runs a service's `main`: its own runtime, configuration errors exit 64 with one line on stderr, a failed run exits 1
/// with its reason as the last log line, a drained one 0.
///
/// `--config FILE` is the only flag (besides `--help`, `--version` and `--print-default-config`). The defaults must have
/// a `[log]` section. A configuration that refuses dangerous pairs does so when it is read (`#[serde(try_from)]`), so
/// that they exit 64 too.
pub fn main<C, Fut>(service: &'static str, default_toml: &'static str, run: impl FnOnce(C) -> Fut) -> ExitCode
where
    C: DeserializeOwned,
    Fut: Future<Output = Result<(), String>>,
{
    let file = match parse(std::env::args().skip(1)) {
        Ok(Ask::Run(file)) => file,
        Ok(Ask::Help) => return say(&help(service)),
        Ok(Ask::Version) => return say(&format!("porchlight-{service} {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Ask::Defaults) => return say(default_toml),
        Err(line) => return refuse(service, &line),
    };
    let config = match prepare(service, default_toml, file) {
        Ok(config) => config,
        Err(e) => return refuse(service, &e.to_string()),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => return refuse(service, &format!("no runtime: {e}")),
    };
    let result = runtime.block_on(run(config));
    // A client library that blocks in its destructor must not keep a drained process alive.
    runtime.shutdown_timeout(LAST_BREATH);
    match result {
        Ok(()) => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            tracing::error!(reason, "failed");
            ExitCode::FAILURE
        }
    }
}

fn prepare<C: DeserializeOwned>(
    service: &'static str,
    default_toml: &str,
    file: Option<PathBuf>,
) -> Result<C, ConfigError> {
    // A variable that is no Unicode is none of ours.
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let sources = Sources::read(default_toml, file.as_deref(), env)?;
    let config = sources.extract()?;
    telemetry::init(service, &sources.section::<LogConfig>("log")?)?;
    Ok(config)
}

fn help(service: &str) -> String {
    format!(
        "porchlight-{service} [--config FILE]\n\n\
         --config FILE            TOML that overrides the defaults; PORCHLIGHT_SECTION__KEY overrides both\n\
         --print-default-config   every key, its default and what it means\n\
         --version\n"
    )
}

fn say(text: &str) -> ExitCode {
    // Whoever closed our stdout wants to hear no more.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(service: &str, line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "porchlight-{service}: {line}");
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ask(args: &[&str]) -> Result<Ask, String> {
        parse(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn flags() {
        assert_eq!(ask(&[]), Ok(Ask::Run(None)));
        assert_eq!(ask(&["--config", "a.toml"]), Ok(Ask::Run(Some("a.toml".into()))));
        assert_eq!(ask(&["--config=a.toml"]), Ok(Ask::Run(Some("a.toml".into()))));
        assert_eq!(ask(&["--print-default-config"]), Ok(Ask::Defaults));
        assert!(ask(&["--config"]).is_err());
        assert!(ask(&["--listen", "x"]).unwrap_err().contains("--listen"));
    }
}
