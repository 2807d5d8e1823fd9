//! What is hurt, and how: the processes of a deployment and the servers under it.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use porchlight_domain::{Clock as _, SystemClock};
use porchlight_standins::fleet::Fleet;
use tokio::{sync::Mutex, time::Instant};

use super::{
    plan::{Fault, Hurt, Target},
    report::Done,
};
use crate::{
    city::life::Tally,
    deployment::{Deployment, Service},
};

/// How long anything may take to be well again on a busy machine, before that is a failure of its own.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A deployment and its servers, hurt by several hands at once.
pub(super) struct Ground {
    deployment: Mutex<Deployment>,
    fleet: Mutex<Fleet>,
    http: reqwest::Client,
    died: Mutex<Vec<String>>,
    most_memory: Mutex<BTreeMap<&'static str, u64>>,
}

impl Ground {
    /// Nothing is hurt yet.
    pub(super) fn new(deployment: Deployment, fleet: Fleet) -> Self {
        Self {
            deployment: Mutex::new(deployment),
            fleet: Mutex::new(fleet),
            http: reqwest::Client::new(),
            died: Mutex::default(),
            most_memory: Mutex::default(),
        }
    }

    /// Does a fault, undoes it, and waits until what was hurt is well again.
    ///
    /// # Errors
    /// A sentence: it could not be done, or it does not recover.
    pub(super) async fn suffer(&self, fault: Fault, tally: &Tally) -> Result<Done, String> {
        let (from_ms, refused) = (SystemClock.now().0, tally.refused.load(Ordering::Relaxed));
        self.inflict(fault).await?;
        tokio::time::sleep(fault.hold).await;
        self.undo(fault).await?;
        let undone_ms = SystemClock.now().0;
        self.well(fault.target).await.map_err(|e| format!("{} {}: {e}", fault.hurt, fault.target.group()))?;
        let refused = tally.refused.load(Ordering::Relaxed) - refused;
        Ok(Done { fault, from_ms, undone_ms, well_ms: SystemClock.now().0, refused })
    }

    async fn inflict(&self, fault: Fault) -> Result<(), String> {
        if let Target::Service(service, n) = fault.target {
            let mut deployment = self.deployment.lock().await;
            return match fault.hurt {
                Hurt::Kill => {
                    deployment.kill(service, n);
                    Ok(())
                }
                Hurt::Freeze => deployment.freeze(service, n),
                Hurt::Restart => deployment.terminate(service, n).await,
                Hurt::Cut => Err("there is no proxy before a service".to_owned()),
            };
        }
        let name = fault.target.server().unwrap_or_default();
        let mut fleet = self.fleet.lock().await;
        tokio::task::block_in_place(|| match fault.hurt {
            Hurt::Kill => fleet.kill(&name),
            Hurt::Freeze => fleet.freeze(&name),
            Hurt::Cut => fleet.cut(&name),
            Hurt::Restart => Err("servers are not restarted".to_owned()),
        })
    }

    async fn undo(&self, fault: Fault) -> Result<(), String> {
        if let Target::Service(service, n) = fault.target {
            let mut deployment = self.deployment.lock().await;
            return match fault.hurt {
                Hurt::Freeze => deployment.thaw(service, n),
                Hurt::Kill | Hurt::Restart | Hurt::Cut => deployment.spawn(service, n),
            };
        }
        let name = fault.target.server().unwrap_or_default();
        let mut fleet = self.fleet.lock().await;
        tokio::task::block_in_place(|| match fault.hurt {
            Hurt::Kill | Hurt::Restart => fleet.launch(&name),
            Hurt::Freeze => fleet.thaw(&name),
            Hurt::Cut => fleet.mend(&name),
        })
    }

    /// Waits until a target does its work again.
    async fn well(&self, target: Target) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let well = match target {
                Target::Service(service, n) => {
                    self.revive(service, n).await?;
                    let admin = self.deployment.lock().await.admin(service, n);
                    self.is_ready(&admin).await
                }
                Target::Broker(_) | Target::Database | Target::Objects => {
                    let name = target.server().unwrap_or_default();
                    let fleet = self.fleet.lock().await;
                    tokio::task::block_in_place(|| fleet.answers(&name))
                }
            };
            if well {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("not well again after {} s", PATIENCE.as_secs()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_ready(&self, admin: &str) -> bool {
        let asked = self.http.get(format!("{admin}/readyz")).timeout(Duration::from_secs(2)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Starts a process again that has ended without being asked to, and notes that it did: the run goes on, and fails.
    async fn revive(&self, service: Service, n: usize) -> Result<(), String> {
        let mut deployment = self.deployment.lock().await;
        if let Some(how) = deployment.exited(service, n) {
            self.died.lock().await.push(how);
            deployment.spawn(service, n)?;
        }
        Ok(())
    }

    /// Looks after all: how much memory each process holds, and whether one has died. Call it every second.
    ///
    /// # Errors
    /// A process cannot be started again.
    pub(super) async fn look(&self) -> Result<(), String> {
        let processes: Vec<(Service, usize)> = self.deployment.lock().await.processes().collect();
        for (service, n) in processes {
            self.revive(service, n).await?;
            let pid = self.deployment.lock().await.pid(service, n);
            let Some(held) = pid.and_then(most_held) else { continue };
            let mut most = self.most_memory.lock().await;
            let most = most.entry(service.name()).or_default();
            *most = held.max(*most);
        }
        Ok(())
    }

    /// Waits until every process is ready.
    ///
    /// # Errors
    /// One is not.
    pub(super) async fn all_ready(&self) -> Result<(), String> {
        self.deployment.lock().await.ready(PATIENCE).await
    }

    /// Records that wait in any stage, by the services' own metrics; `None` if one does not say.
    pub(super) async fn lag(&self) -> Option<u64> {
        let admins: Vec<String> = {
            let deployment = self.deployment.lock().await;
            deployment.processes().map(|(service, n)| deployment.admin(service, n)).collect()
        };
        let mut lag = 0;
        for admin in admins {
            let text = self.http.get(format!("{admin}/metrics")).send().await.ok()?.text().await.ok()?;
            let samples = text.lines().filter(|line| line.starts_with("porchlight_bus_consumer_lag_records{"));
            lag += samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>();
        }
        Some(lag)
    }

    /// Who died, and the most memory that a process of each service held.
    pub(super) async fn toll(&self) -> (Vec<String>, BTreeMap<&'static str, u64>) {
        (self.died.lock().await.clone(), self.most_memory.lock().await.clone())
    }

    /// Ends everything. Every process must drain and exit 0.
    ///
    /// # Errors
    /// Who did not.
    pub(super) async fn end(self) -> Result<(), String> {
        self.deployment.into_inner().stop().await?;
        let fleet = self.fleet.into_inner();
        tokio::task::block_in_place(|| fleet.down())
    }
}

/// The most memory that a process ever held, bytes (`VmHWM`, proc_pid_status(5)).
fn most_held(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
