//! Whether the brokers can be reached as the settings say, and if not, which key is wrong.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{BusError, KafkaConfig, client, handshake};

/// How long one question may take. Within it, what the client met meanwhile is looked at.
const ASK: Duration = Duration::from_millis(500);
/// A failure that others come after is waited out for so long: of several brokers one may be away.
const SETTLED: Duration = Duration::from_secs(2);

/// What kept a client from the brokers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No address for a name.
    Name,
    /// Nobody answers, or what answers is no such broker.
    Connection,
    /// TLS could not be agreed on, or a certificate was not accepted.
    Tls,
    /// The password, or what proves it.
    Password,
}

/// Why the brokers cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Unreachable {
    /// What kind of trouble it is; `None`: a setting that cannot be.
    pub trouble: Option<Trouble>,
    /// What is wrong and what to do, with the client's own words. No secret is in it.
    pub sentence: String,
}

/// Asks the brokers who they are, as every client of ours would: how many there are. Within `within`.
///
/// # Errors
/// [`Unreachable`].
pub async fn reach(config: &KafkaConfig, within: Duration) -> Result<usize, Unreachable> {
    let wrong = |e: BusError| Unreachable { trouble: None, sentence: e.to_string() };
    config.check().map_err(wrong)?;
    let mut options = config.question_client("doctor").map_err(wrong)?;
    // A broker that hangs up at once is what is looked for here.
    options.set("log.connection.close", "true");
    let witness = Witness::default();
    let client: BaseConsumer<Witness> =
        options.create_with_context(witness.clone()).map_err(|e| wrong(BusError::Config(e.to_string())))?;
    let config = config.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let answer = ask(&client, &witness, within);
        // Joining the client's threads takes its time, and blocks.
        drop(client);
        answer.map_err(|met| explain(&config, met))
    });
    let ended = |e: tokio::task::JoinError| Unreachable { trouble: None, sentence: e.to_string() };
    asked.await.map_err(ended)?
}

fn ask(
    client: &BaseConsumer<Witness>,
    witness: &Witness,
    within: Duration,
) -> Result<usize, Option<(RDKafkaErrorCode, String)>> {
    let begun = Instant::now();
    loop {
        if let Ok(metadata) = client.fetch_metadata(None, ASK)
            && !metadata.brokers().is_empty()
        {
            return Ok(metadata.brokers().len());
        }
        // Nothing is subscribed: it only hands us what the client met.
        let _ = client.poll(Duration::from_millis(50));
        let met = witness.met();
        let settled = met.is_some() && begun.elapsed() >= SETTLED;
        if settled || begun.elapsed() >= within {
            return Err(met);
        }
    }
}

/// What the client met last, that says more than that nobody is there.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl Witness {
    fn met(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Witness {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if code != RDKafkaErrorCode::AllBrokersDown {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Witness {}

fn explain(config: &KafkaConfig, met: Option<(RDKafkaErrorCode, String)>) -> Unreachable {
    let servers = &config.bootstrap_servers;
    let (trouble, said) = met.map_or((Trouble::Connection, None), |(code, said)| (trouble(code), Some(said)));
    let words = said.as_deref().unwrap_or("nothing is answered");
    let verdict = match trouble {
        Trouble::Tls | Trouble::Connection => handshake::verdict(config, words),
        Trouble::Name | Trouble::Password => None,
    };
    if let Some(verdict) = verdict {
        let trouble = if config.security_protocol.has_tls() { Trouble::Tls } else { Trouble::Connection };
        return Unreachable { trouble: Some(trouble), sentence: format!("{verdict} ({words})") };
    }
    let sentence = match trouble {
        Trouble::Name => format!("a name in kafka.bootstrap_servers, or one that a broker gave, is unknown: {words}"),
        Trouble::Password => format!(
            "the brokers refuse kafka.username with its password, or know nothing of kafka.sasl_mechanism: {words}"
        ),
        Trouble::Tls => format!("TLS with a broker failed: {words}"),
        Trouble::Connection if words.contains("SSL listener") => {
            format!("a broker hangs up: it may speak TLS, and kafka.security_protocol says otherwise: {words}")
        }
        Trouble::Connection => format!("no broker of kafka.bootstrap_servers ({servers}) can be reached: {words}"),
    };
    Unreachable { trouble: Some(trouble), sentence }
}

fn trouble(code: RDKafkaErrorCode) -> Trouble {
    match code {
        RDKafkaErrorCode::SSL => Trouble::Tls,
        RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::UnsupportedSASLMechanism
        | RDKafkaErrorCode::IllegalSASLState => Trouble::Password,
        RDKafkaErrorCode::Resolve => Trouble::Name,
        // The client knows a hundred more, and none of them is about who is who.
        _ => Trouble::Connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::valid;

    #[test]
    fn each_trouble_names_its_key() {
        for (code, trouble, key) in [
            (RDKafkaErrorCode::Resolve, Trouble::Name, "kafka.bootstrap_servers"),
            (RDKafkaErrorCode::Authentication, Trouble::Password, "kafka.username"),
            (RDKafkaErrorCode::SSL, Trouble::Tls, "TLS"),
            (RDKafkaErrorCode::BrokerTransportFailure, Trouble::Connection, "kafka.bootstrap_servers"),
        ] {
            let told = explain(&valid(), Some((code, "its own words".to_owned())));
            assert_eq!(told.trouble, Some(trouble));
            assert!(told.sentence.contains(key) && told.sentence.contains("its own words"), "{told}");
        }
        let hint = "might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)";
        let told = explain(&valid(), Some((RDKafkaErrorCode::BrokerTransportFailure, hint.to_owned())));
        assert!(told.sentence.contains("kafka.security_protocol"), "{told}");
        assert!(explain(&valid(), None).sentence.contains("127.0.0.1:1"));
    }

    #[tokio::test]
    async fn nobody_there_is_said_within_the_time_given() {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let bootstrap_servers = free.local_addr().expect("bound").to_string();
        drop(free);
        let config = KafkaConfig { bootstrap_servers: bootstrap_servers.clone(), ..valid() };
        let begun = Instant::now();
        let told = reach(&config, Duration::from_secs(5)).await.expect_err("nobody is there");
        assert!(begun.elapsed() < Duration::from_secs(15));
        assert_eq!(told.trouble, Some(Trouble::Connection));
        assert!(told.sentence.contains(&bootstrap_servers), "{told}");
    }
}
