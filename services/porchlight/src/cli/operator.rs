//! `porchlight operator`: who may do what operators do.

use clap::Subcommand;
use porchlight_domain::ResidentId;
use porchlight_store::Store;

use super::{Config, Failure};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make an account an operator: the first one, before any can be made over the API.
    #[command(
        after_help = "Example:\n  porchlight operator create --issuer https://login.example.org --subject 0ae91c \
        --note 'Ada, on call'"
    )]
    Create {
        /// The issuer of the account's tokens, exactly as their `iss` claim has it.
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// The account, as the tokens' `sub` claim has it.
        #[arg(long, value_name = "SUB")]
        subject: String,
        /// Who it is and why, for people who read the table.
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
}

pub(super) async fn run(command: Command, config: Config) -> Result<String, Failure> {
    let Command::Create { issuer, subject, note } = command;
    for (flag, value) in [("issuer", &issuer), ("subject", &subject), ("note", &note)] {
        if value.trim().is_empty() || value.len() > 1024 {
            return Err(Failure::Usage(format!("--{flag} must be given, in at most 1024 bytes")));
        }
    }
    let account = ResidentId::of_subject(&issuer, &subject);
    let store = Store::connect(&config.cql).await.map_err(|e| Failure::Failed(e.to_string()))?;
    store.registry.add_operator(account, &note).await.map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(format!("account {account} is an operator\n"))
}
