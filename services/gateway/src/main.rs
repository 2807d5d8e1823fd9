//! The gateway's process: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    porchlight_chassis::lifecycle::main("gateway", porchlight_gateway::DEFAULT_TOML, porchlight_gateway::run)
}
