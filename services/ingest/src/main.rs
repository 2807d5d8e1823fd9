//! The binary `porchlight-ingest`.

use std::process::ExitCode;

fn main() -> ExitCode {
    porchlight_chassis::lifecycle::main("ingest", porchlight_ingest::DEFAULTS, porchlight_ingest::run)
}
