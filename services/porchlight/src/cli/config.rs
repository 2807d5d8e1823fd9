//! `porchlight config`: the settings there are.

use std::path::Path;

use clap::ValueEnum;
use serde::de::DeserializeOwned;

use super::{Failure, reference};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  porchlight config ingest > ingest.toml && porchlight-ingest --config ingest.toml\n  \
        porchlight config reference > docs/CONFIGURATION.md   # all of them, as one page"
)]
pub(super) struct Args {
    /// Whose settings; `reference`: those of all programs, as one page of Markdown.
    of: Asked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Asked {
    Ingest,
    GeoIndex,
    Notification,
    Gateway,
    /// The command line itself.
    Porchlight,
    /// All of them, as one page of Markdown.
    Reference,
}

/// A program that has settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Program {
    Ingest,
    GeoIndex,
    Notification,
    Gateway,
    /// The command line itself.
    Porchlight,
}

impl Program {
    pub(super) const ALL: [Self; 5] =
        [Self::Ingest, Self::GeoIndex, Self::Notification, Self::Gateway, Self::Porchlight];

    /// Every key, its default and a comment.
    pub(super) fn defaults(self) -> &'static str {
        match self {
            Self::Ingest => porchlight_ingest::DEFAULT_TOML,
            Self::GeoIndex => porchlight_geo_index::DEFAULT_TOML,
            Self::Notification => porchlight_notification::DEFAULT_TOML,
            Self::Gateway => porchlight_gateway::DEFAULT_TOML,
            Self::Porchlight => crate::DEFAULT_TOML,
        }
    }

    /// As it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::GeoIndex => "geo-index",
            Self::Notification => "notification",
            Self::Gateway => "gateway",
            Self::Porchlight => "porchlight",
        }
    }
}

/// The settings of a program as it would read them here.
pub(super) fn load<C: DeserializeOwned>(of: Program, file: Option<&Path>) -> Result<C, Failure> {
    // A variable that is no Unicode is none of ours.
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    porchlight_chassis::config::load(of.defaults(), file, env).map_err(|e| Failure::Usage(e.to_string()))
}

pub(super) fn run(args: Args) -> String {
    match args.of {
        Asked::Ingest => Program::Ingest.defaults().to_owned(),
        Asked::GeoIndex => Program::GeoIndex.defaults().to_owned(),
        Asked::Notification => Program::Notification.defaults().to_owned(),
        Asked::Gateway => Program::Gateway.defaults().to_owned(),
        Asked::Porchlight => Program::Porchlight.defaults().to_owned(),
        Asked::Reference => reference::page(),
    }
}
