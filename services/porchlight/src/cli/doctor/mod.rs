//! `porchlight doctor`: whether everything that a deployment stands on is as it should be. `kafka`, `cql` and `objects`
//! judge, and ask nobody; `ask` asks; `finding` is what is said.

mod ask;
mod cql;
mod finding;
mod kafka;
mod objects;

use std::path::Path;

use porchlight_bus::KafkaConfig;
use porchlight_clips::S3Config;
use porchlight_gateway::auth::AuthConfig;
use porchlight_store::CqlConfig;

use super::{
    Failure,
    config::{Program, load},
    output::progress,
};
use finding::Finding;

/// Look at everything that a deployment stands on, as a service with these settings would reach it: Kafka and its topics,
/// the database with one conditional write, the store of objects with one upload, the issuer's keys. It changes nothing
/// but for one row and one object, which it removes again.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  porchlight --config gateway.toml doctor --of gateway   # the one that names all four\n  \
    porchlight doctor --json | jq '.findings[] | select(.verdict == \"fail\")'\n\n\
    Exit codes: 0 nothing fails (warnings do not count), 1 something does, 64 the settings cannot be."
)]
pub(super) struct Args {
    /// Whose settings the file and the environment hold.
    #[arg(long, value_enum, default_value_t = Program::Porchlight)]
    of: Program,
    /// Answer in JSON: `well`, and `findings` with `verdict` (ok, warn, fail), `what` and `sentence`.
    #[arg(long)]
    json: bool,
}

/// What a program is connected to; what it is not has no section.
#[derive(serde::Deserialize)]
struct Connections {
    kafka: KafkaConfig,
    cql: Option<CqlConfig>,
    s3: Option<S3Config>,
    auth: Option<AuthConfig>,
}

pub(super) async fn run(args: Args, file: Option<&Path>) -> Result<String, Failure> {
    let connections: Connections = load(args.of, file)?;
    let findings = examine(&connections).await;
    let report = if args.json { finding::json(&findings) } else { finding::text(&findings) };
    if finding::is_well(&findings) { Ok(report) } else { Err(Failure::Found(report)) }
}

/// All of them side by side: one that hangs keeps no other waiting.
async fn examine(connections: &Connections) -> Vec<Finding> {
    let Connections { kafka, cql, s3, auth } = connections;
    let kafka = told("kafka", async { ask::kafka(kafka).await });
    let cql = told("cql", async {
        match cql {
            Some(cql) => ask::cql(cql).await,
            None => Vec::new(),
        }
    });
    let s3 = told("s3", async {
        match s3 {
            Some(s3) => ask::objects(s3).await,
            None => Vec::new(),
        }
    });
    let issuer = told("issuer", async {
        match auth {
            Some(auth) => ask::issuer(auth).await,
            None => vec![Finding::warn("issuer", "not looked at: only the gateway knows it; see --of gateway")],
        }
    });
    let (kafka, cql, s3, issuer) = tokio::join!(kafka, cql, s3, issuer);
    [kafka, cql, s3, issuer].concat()
}

/// A line for whoever waits, when one of them is done.
async fn told(what: &str, asked: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    let findings = asked.await;
    if !findings.is_empty() {
        progress(&format!("{what}: looked at"));
    }
    findings
}
