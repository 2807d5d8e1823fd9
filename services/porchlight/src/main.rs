//! `porchlight`: see `porchlight --help`.

fn main() -> std::process::ExitCode {
    porchlight::cli::main()
}
