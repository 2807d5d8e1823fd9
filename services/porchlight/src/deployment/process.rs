//! One process: its files, its start, its end. It runs apart, or within this one.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{Service, Settings, configuration::Keys, within::Within};

#[derive(Debug)]
pub(super) struct Process {
    service: Service,
    /// e.g. `ingest-0`: the stem of its files.
    name: String,
    dir: PathBuf,
    /// Of its API, at first; 0: any.
    port: u16,
    settings: Settings,
    runs: Runs,
    /// How it ended, if it did so without being asked to.
    end: Option<String>,
}

#[derive(Debug)]
enum Runs {
    Not,
    Apart(Child),
    Within(Within),
}

impl Process {
    pub(super) fn prepare(dir: &Path, service: Service, n: usize, settings: &Settings) -> Result<Self, String> {
        let name = format!("{}-{n}", service.name());
        let settings = settings.as_told_to(service);
        let port = settings.ports.get(&service).copied().filter(|_| n == 0).unwrap_or_default();
        let process = Self { service, name, port, dir: dir.to_owned(), settings, runs: Runs::Not, end: None };
        // Once, for all processes and for ever: whoever was given something under a key comes back with it.
        let keys = process.keys();
        if !keys.vapid.exists() {
            write(&keys.vapid, &porchlight_push::mint_vapid_key())?;
        }
        if !keys.grant.exists() {
            write(&keys.grant, &porchlight_clips::GrantKey::generate())?;
        }
        for stale in ["admin", "api"] {
            let _ = std::fs::remove_file(process.file(stale));
        }
        Ok(process)
    }

    /// Its process id while it runs apart.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.runs {
            Runs::Apart(child) => Some(child.id()),
            Runs::Not | Runs::Within(_) => None,
        }
    }

    fn keys(&self) -> Keys {
        Keys { vapid: self.dir.join("vapid.key"), grant: self.dir.join("grant.key") }
    }

    /// Any port at first; the same again after a restart, where its clients look for it.
    fn configure(&self) -> Result<(), String> {
        let (admin, api) = (self.file("admin"), self.file("api"));
        let address = |file: &Path, port| std::fs::read_to_string(file).unwrap_or_else(|_| format!("127.0.0.1:{port}"));
        let mut listen = vec![("admin", address(&admin, 0), admin.as_path())];
        if self.service.has_api() {
            listen.push(("http", address(&api, self.port), api.as_path()));
        }
        let toml = self.settings.file(self.service, &listen, &self.keys(), &self.file("snapshots"));
        write(&self.file("toml"), &toml)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.file("log")
    }

    pub(super) fn spawn(&mut self) -> Result<(), String> {
        self.configure()?;
        self.end = None;
        if let Some(together) = &self.settings.together {
            self.runs = Runs::Within(Within::start(self.service, self.file("toml"), together.beside.clone()));
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(self.log()).map_err(|e| e.to_string())?;
        let binary = binary(self.service)?;
        let child = Command::new(&binary)
            .arg("--config")
            .arg(self.file("toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Its own group: Ctrl-C reaches the one who drains the city in order, and not everybody at once.
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        write(&self.file("pid"), &child.id().to_string())?;
        self.runs = Runs::Apart(child);
        Ok(())
    }

    pub(super) fn api(&self) -> Option<String> {
        url(&self.file("api"))
    }

    pub(super) fn admin(&self) -> Option<String> {
        url(&self.file("admin"))
    }

    /// A sentence if it has ended without being asked to, the same until it is started again.
    pub(super) fn ended(&mut self) -> Option<String> {
        if let Some(how) = self.end_of_it() {
            self.forget();
            self.end = Some(self.sentence(&how.err().unwrap_or_else(|| "by itself".to_owned())));
        }
        self.end.clone()
    }

    /// How it ended: an error is not what a drain ends with. `None` while it runs, and if it does not.
    fn end_of_it(&mut self) -> Option<Result<(), String>> {
        match &mut self.runs {
            Runs::Not => None,
            Runs::Apart(child) => {
                let status = child.try_wait().ok().flatten()?;
                Some(if status.success() { Ok(()) } else { Err(status.to_string()) })
            }
            Runs::Within(within) => within.ended(),
        }
    }

    fn sentence(&self, how: &str) -> String {
        match self.settings.together {
            Some(_) => format!("{} ended ({how})", self.name),
            None => format!("{} ended ({how}); its log ends:\n{}", self.name, tail(&self.log())),
        }
    }

    fn forget(&mut self) {
        self.runs = Runs::Not;
        let _ = std::fs::remove_file(self.file("pid"));
    }

    pub(super) async fn ready(&mut self, until: Instant) -> Result<(), String> {
        let http = reqwest::Client::new();
        let mut said = "it does not listen yet".to_owned();
        while self.runs() {
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            let listens = !self.service.has_api() || self.api().is_some();
            if let (true, Some(admin)) = (listens, self.admin()) {
                let asked = http.get(format!("{admin}/readyz")).timeout(Duration::from_secs(2)).send().await;
                match asked {
                    Ok(answer) if answer.status().is_success() => return Ok(()),
                    Ok(answer) => said = answer.text().await.unwrap_or_default(),
                    Err(e) => said = e.to_string(),
                }
            }
            if Instant::now() > until {
                return Err(format!("{} is not ready: {said}\nits log ends:\n{}", self.name, tail(&self.log())));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn runs(&self) -> bool {
        !matches!(self.runs, Runs::Not)
    }

    /// Whether it is frozen makes no difference to SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Runs::Apart(child) = &mut self.runs {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.runs() {
            self.forget();
        }
    }

    pub(super) fn freeze(&self) -> Result<(), String> {
        porchlight_standins::fleet::freeze(self.must_run()?)
    }

    pub(super) fn thaw(&self) -> Result<(), String> {
        self.signal(Signal::CONT)
    }

    /// To a child that is not waited for yet: its number cannot be another's.
    fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_child(self.must_run()?);
        kill_process(pid, signal).map_err(|e| format!("{} cannot be signalled: {e}", self.name))
    }

    fn must_run(&self) -> Result<&Child, String> {
        match &self.runs {
            Runs::Apart(child) => Ok(child),
            Runs::Not => Err(format!("{} does not run", self.name)),
            Runs::Within(_) => Err(format!("{} runs within this process: it gets no signals", self.name)),
        }
    }

    /// A frozen process would sleep over its end.
    pub(super) fn terminate(&self) -> Result<(), String> {
        if let Runs::Within(within) = &self.runs {
            within.terminate();
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        self.thaw()
    }

    pub(super) async fn wait(&mut self, within: Duration) -> Result<(), String> {
        let until = Instant::now() + within;
        while self.runs() {
            match self.end_of_it() {
                Some(how) => {
                    self.forget();
                    how.map_err(|how| self.sentence(&how))?;
                }
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
                None => {
                    self.kill();
                    return Err(self.sentence("it did not drain in time and was killed"));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The binaries of the services stand beside this one (or one folder up, for a test's).
fn binary(service: Service) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|e| e.to_string())?;
    let name = format!("porchlight-{}", service.name());
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is not beside {}: run `cargo build --workspace`", here.display()))
}

pub(super) fn clear(dir: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "pid")) {
        let pid = std::fs::read_to_string(&path).ok().and_then(|p| Pid::from_raw(p.trim().parse().ok()?));
        // The number may be someone else's by now: only a process that was started with a file of this folder is ours.
        let ours = |pid: &Pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|c| c.contains(&dir.display().to_string()))
        };
        if let Some(pid) = pid.filter(ours) {
            // It may have ended since it was looked at.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::fs::remove_file(&path).map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
    }
    Ok(())
}

fn url(address_file: &Path) -> Option<String> {
    let address = std::fs::read_to_string(address_file).ok()?;
    Some(format!("http://{}", address.trim()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(0o600);
    let written = options.open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn tail(path: &Path) -> String {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
