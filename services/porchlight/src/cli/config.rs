//! `porchlight config`: the settings there are.

use clap::ValueEnum;

#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  porchlight config ingest > ingest.toml && porchlight-ingest --config ingest.toml")]
pub(super) struct Args {
    /// Whose settings.
    program: Program,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Program {
    Ingest,
    GeoIndex,
    Notification,
    Gateway,
    /// The command line itself.
    Porchlight,
}

pub(super) fn run(args: Args) -> String {
    let defaults = match args.program {
        Program::Ingest => porchlight_ingest::DEFAULT_TOML,
        Program::GeoIndex => porchlight_geo_index::DEFAULT_TOML,
        Program::Notification => porchlight_notification::DEFAULT_TOML,
        Program::Gateway => porchlight_gateway::DEFAULT_TOML,
        Program::Porchlight => crate::DEFAULT_TOML,
    };
    defaults.to_owned()
}
