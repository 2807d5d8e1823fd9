//! The binary `porchlight-ingest`.

use std::process::ExitCode;

fn main() -> ExitCode {
    porchlight_chassis::lifecycle::main("ingest", porchlight_ingest::DEFAULT_TOML, porchlight_ingest::run)
}
