//! The binary `porchlight-notification`.

fn main() -> std::process::ExitCode {
    porchlight_chassis::lifecycle::main(
        "notification",
        porchlight_notification::DEFAULT_TOML,
        porchlight_notification::run,
    )
}
