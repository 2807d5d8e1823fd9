//! `porchlight grant-key`: the key that signs grants of uploads.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Print a new key (256 random bits, base64url). Every ingest of a deployment needs the same; with another one, uploads
    /// that are under way are granted anew, and nothing else.
    #[command(after_help = "Example:\n  (umask 077; porchlight grant-key new > grant.key)   \
        # then media.grant_key_file = \"grant.key\"")]
    New,
}

pub(super) fn run(command: Command) -> String {
    match command {
        Command::New => porchlight_clips::GrantKey::generate() + "\n",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_new_key_is_one_that_ingest_reads_and_no_other_has() {
        let key = run(Command::New);
        porchlight_clips::GrantKey::parse(&key).unwrap();
        assert_ne!(key, run(Command::New));
    }
}
