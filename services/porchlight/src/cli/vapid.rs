//! `porchlight vapid`: the key by which push services know this deployment.

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Print a new private key (P-256, base64url). A deployment keeps its key for ever: with another one, every browser
    /// must subscribe anew.
    #[command(after_help = "Example:\n  (umask 077; porchlight vapid new > vapid.key)   \
        # then push.vapid_private_key_file = \"vapid.key\"")]
    New,
}

pub(super) fn run(command: Command) -> String {
    match command {
        Command::New => porchlight_push::mint_vapid_key() + "\n",
    }
}
