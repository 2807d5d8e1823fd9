//! Which hosts not to ask again in this round: a provider that is down, or one push server among many that hangs, must
//! not hold up the people of all the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use porchlight_domain::Transport;

/// So many failures in a row, and the rest of a host's pushes wait for the next round.
const FAILURES: u32 = 2;

/// The hosts of one round. It lives no longer, so the next round asks a host again.
#[derive(Debug, Default)]
pub(crate) struct Circuit(Mutex<HashMap<String, u32>>);

impl Circuit {
    /// Whether the host is worth asking.
    pub(crate) fn admits(&self, host: &str) -> bool {
        self.lock().get(host).is_none_or(|failures| *failures < FAILURES)
    }

    /// It could not take a push.
    pub(crate) fn failed(&self, host: &str) {
        *self.lock().entry(host.to_owned()).or_default() += 1;
    }

    /// It answered.
    pub(crate) fn answered(&self, host: &str) {
        self.lock().remove(host);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What fails together: a push server for Web Push, for others the provider.
pub(crate) fn host(transport: &Transport) -> &str {
    match transport {
        Transport::WebPush { url, .. } => {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            rest.split(['/', '?', '#']).next().unwrap_or(rest)
        }
        Transport::Fcm { .. } | Transport::Apns { .. } => transport.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_fails_twice_is_not_asked_again_in_this_round_and_others_are() {
        let circuit = Circuit::default();
        circuit.failed("a");
        assert!(circuit.admits("a"));
        circuit.failed("a");
        assert!(!circuit.admits("a"));
        assert!(circuit.admits("b"));
    }

    #[test]
    fn an_answer_closes_it() {
        let circuit = Circuit::default();
        circuit.failed("a");
        circuit.answered("a");
        circuit.failed("a");
        assert!(circuit.admits("a"));
    }

    #[test]
    fn push_servers_fail_apart() {
        let at = |url: &str| Transport::WebPush { url: url.into(), p256dh: Vec::new(), auth: Vec::new() };
        assert_eq!(host(&at("https://push.example:8443/send/abc?x=1")), "push.example:8443");
        assert_eq!(host(&at("http://127.0.0.1:9")), "127.0.0.1:9");
        assert_eq!(host(&Transport::Fcm { token: "t".into() }), "fcm");
    }
}
