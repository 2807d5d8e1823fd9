//! What may be done to a process of a deployment, with a real one.

mod support;

use std::{path::Path, time::Duration};

use porchlight::deployment::{Deployment, Service, Settings, unique_name};
use rustix::process::{Pid, Signal, kill_process};
use support::eventually;

const INGEST: (Service, usize) = (Service::Ingest, 0);

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_frozen_and_goes_on_is_drained_and_is_missed_when_it_ends_by_itself() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings::new(unique_name("deployment"), support::servers());
    let only_ingest = |service| usize::from(service == Service::Ingest);
    let mut deployment = Deployment::start(dir.path(), settings, only_ingest, &|_| {}).await.expect("it starts");
    let livez = format!("{}/livez", deployment.admin(INGEST.0, INGEST.1));

    deployment.freeze(INGEST.0, INGEST.1).expect("frozen");
    assert!(!lives(&livez, Duration::from_millis(500)).await, "it does nothing");
    assert!(deployment.pid(INGEST.0, INGEST.1).is_some(), "but it is there");
    deployment.thaw(INGEST.0, INGEST.1).expect("thawed");
    assert!(lives(&livez, support::PATIENCE).await);

    deployment.freeze(INGEST.0, INGEST.1).expect("frozen");
    deployment.terminate(INGEST.0, INGEST.1).await.expect("even a frozen one drains and exits 0");
    assert_eq!(deployment.exited(INGEST.0, INGEST.1), None, "it was asked to");
    for told in [deployment.terminate(INGEST.0, INGEST.1).await, deployment.freeze(INGEST.0, INGEST.1)] {
        assert_eq!(told.expect_err("nothing runs"), "ingest-0 does not run");
    }

    let pid = again(&mut deployment).await;
    kill_process(Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid"), Signal::KILL).expect("killed");
    let told = loop_until_exited(&mut deployment).await;
    assert!(told.starts_with("ingest-0 ended (signal: 9"), "{told}");
    assert_eq!(deployment.exited(INGEST.0, INGEST.1).as_ref(), Some(&told), "for as long as it is away");
    assert_eq!(deployment.ended(), Some(told));

    let pid = again(&mut deployment).await;
    assert_eq!(deployment.exited(INGEST.0, INGEST.1), None);
    deployment.freeze(INGEST.0, INGEST.1).expect("frozen");
    deployment.kill(INGEST.0, INGEST.1);
    assert!(is_gone(pid), "killed while it was frozen, and waited for");

    let pid = again(&mut deployment).await;
    deployment.freeze(INGEST.0, INGEST.1).expect("frozen");
    drop(deployment);
    assert!(is_gone(pid), "and so it ends with its deployment");
}

async fn lives(livez: &str, bound: Duration) -> bool {
    reqwest::Client::new().get(livez).timeout(bound).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Starts it once more; its process id.
async fn again(deployment: &mut Deployment) -> u32 {
    deployment.spawn(INGEST.0, INGEST.1).expect("started again");
    deployment.ready(support::PATIENCE).await.expect("ready again");
    deployment.pid(INGEST.0, INGEST.1).expect("it runs")
}

async fn loop_until_exited(deployment: &mut Deployment) -> String {
    let deployment = tokio::sync::Mutex::new(deployment);
    eventually("it is missed", || async { deployment.lock().await.exited(INGEST.0, INGEST.1) }).await
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}
