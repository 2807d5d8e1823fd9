//! The process while everything that it depends on is away.

use std::time::Duration;

use porchlight_chassis::{health::Health, lifecycle::Manager};

use crate::support::config;

#[test]
fn it_waits_for_what_is_away_says_so_and_ends_when_it_is_told_to() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Ports on which nobody listens.
        let away = [
            ("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("CQL__CONTACT_POINTS", "[\"127.0.0.1:1\"]"),
            ("HTTP__LISTEN", "127.0.0.1:0"),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
        ];
        let config = config("http://127.0.0.1:1", &away);
        let health = Health::new();
        let mut manager = Manager::new(health.clone(), Duration::from_millis(config.lifecycle.drain_ms));
        porchlight_gateway::start(&config, axum::Router::new(), &health, &mut manager).unwrap();
        let all_are_named = async move {
            let mut turns = tokio::time::interval(Duration::from_millis(20));
            for _ in 0..1_000 {
                turns.tick().await;
                let unmet = health.ready().expect_err("nothing is there");
                let mut names: Vec<&str> = unmet.iter().filter(|(_, why)| why != "starting").map(|(n, _)| *n).collect();
                names.sort_unstable();
                if names == ["issuer", "kafka", "neighborhoods", "store"] {
                    return "all that is away is named";
                }
            }
            panic!("not all that is away is named: {:?}", health.ready());
        };
        assert_eq!(manager.run_until(all_are_named).await, Ok(()));
    });
    // A blocking question to the broker outlives the drain, as in a real process.
    runtime.shutdown_timeout(Duration::from_millis(100));
}
