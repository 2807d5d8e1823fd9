//! `porchlight servers`: Kafka, Cassandra and an S3 server on this machine.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use porchlight_standins::servers::Servers;

use super::{Failure, output::progress};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Start them (those that do not run yet), and print how to reach them.
    ///
    /// The first start fetches two with Maven and builds the third with Go, which takes minutes, into a cache outside the
    /// tree ($PORCHLIGHT_CACHE, else ~/.cache/porchlight).
    #[command(after_help = "Examples:\n  porchlight servers up\n  eval \"$(porchlight servers up)\"   \
        # and let this shell's commands and tests find them")]
    Up(Dir),
    /// Fill the cache and start none: what follows needs no network.
    #[command(after_help = "Example:\n  porchlight servers fetch   # on a build machine, before it goes off the net")]
    Fetch,
    /// Stop them. Their data stay.
    #[command(after_help = "Example:\n  porchlight servers down && rm -r .dev/run   # and forget their data")]
    Down(Dir),
    /// Whether they run, and where.
    #[command(after_help = "Example:\n  porchlight servers status || porchlight servers up")]
    Status(Dir),
}

#[derive(Args, Debug)]
pub(super) struct Dir {
    /// Holds their data and logs.
    #[arg(long, default_value = ".dev/run")]
    dir: PathBuf,
}

pub(super) fn run(command: Command) -> Result<String, Failure> {
    match command {
        Command::Up(Dir { dir }) => Servers::up(&dir, &progress).and_then(|servers| describe(&dir, &servers)),
        Command::Fetch => Servers::fetch(&progress).map(|()| String::new()),
        Command::Down(Dir { dir }) => Servers::down(&dir).map(|()| String::new()),
        Command::Status(Dir { dir }) => Servers::attach(&dir).and_then(|servers| describe(&dir, &servers)),
    }
    .map_err(Failure::Failed)
}

/// Lines that a shell can evaluate.
fn describe(dir: &Path, servers: &Servers) -> Result<String, String> {
    let dir = dir.canonicalize().map_err(|e| format!("{}: {e}", dir.display()))?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    Ok(format!(
        "# kafka {}, cassandra {}, s3 {}; data and logs in {}\n\
         export PORCHLIGHT_TEST_SERVERS={}\n\
         export PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS={}\n\
         export PORCHLIGHT_CQL__CONTACT_POINTS={}\n\
         export PORCHLIGHT_S3__ENDPOINT={}\n\
         export PORCHLIGHT_S3__REGION={}\n\
         export PORCHLIGHT_S3__BUCKET={}\n\
         export PORCHLIGHT_S3__ACCESS_KEY_ID={}\n\
         export PORCHLIGHT_S3__SECRET_ACCESS_KEY={}\n",
        servers.kafka,
        servers.cassandra,
        servers.s3.endpoint,
        dir.display(),
        quoted(&dir.join("servers.json").display().to_string()),
        quoted(&servers.kafka),
        quoted(&format!("[\"{}\"]", servers.cassandra)),
        quoted(&servers.s3.endpoint),
        quoted(&servers.s3.region),
        quoted(&servers.s3.bucket),
        quoted(&servers.s3.access_key_id),
        quoted(&servers.s3.secret_access_key),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use porchlight_standins::servers::S3Server;

    #[test]
    fn a_shell_reads_back_what_is_printed() {
        let dir = tempfile::Builder::new().prefix("it's ").tempdir().unwrap();
        let s3 = S3Server {
            endpoint: "http://127.0.0.1:3".into(),
            bucket: "b".into(),
            region: "r".into(),
            access_key_id: "id".into(),
            secret_access_key: "it's $secret".into(),
        };
        let servers = Servers { kafka: "127.0.0.1:1".into(), cassandra: "127.0.0.1:2".into(), s3, pids: [].into() };
        let names = "TEST_SERVERS KAFKA__BOOTSTRAP_SERVERS CQL__CONTACT_POINTS S3__ENDPOINT S3__REGION S3__BUCKET \
                     S3__ACCESS_KEY_ID S3__SECRET_ACCESS_KEY";
        let said: String = names.split(' ').map(|name| format!("echo \"$PORCHLIGHT_{name}\"\n")).collect();
        let script = format!("{}{said}", describe(dir.path(), &servers).unwrap());
        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let file = dir.path().canonicalize().unwrap().join("servers.json");
        let expected =
            format!("{}\n127.0.0.1:1\n[\"127.0.0.1:2\"]\nhttp://127.0.0.1:3\nr\nb\nid\nit's $secret\n", file.display());
        assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
    }
}
