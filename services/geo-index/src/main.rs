//! The binary `porchlight-geo-index`.

fn main() -> std::process::ExitCode {
    porchlight_chassis::lifecycle::main("geo-index", porchlight_geo_index::DEFAULT_TOML, porchlight_geo_index::run)
}
