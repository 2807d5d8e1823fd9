//! Processes: starting them in a group of their own, knowing them again, stopping them.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, waitid, waitpid,
};

use super::{archive, at, server::Place};

/// How long a killed process may take to be gone.
const KILL_BOUND: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A process that is known by the home on its command line.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pid: u32,
    home: PathBuf,
}

/// A Java that runs in its home and carries its name. What follows names the same jars each time.
pub(crate) fn java(place: &Place) -> Command {
    let mut command = Command::new("java");
    command.current_dir(&place.home).arg(marker(&place.home));
    command.args(archive::of(&place.cached).map(|archive| format!("-XX:SharedArchiveFile={}", archive.display())));
    command
}

/// What every process of a home carries as one argument. Java takes it for a property.
pub(crate) fn marker(home: &Path) -> String {
    format!("-Dporchlight.home={}", home.display())
}

/// Starts it in a process group of its own (Ctrl-C in a terminal is for whoever started it, not for it), its output
/// appended to `log`.
pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Child, String> {
    let out = File::options().create(true).append(true).open(log).map_err(|e| at(log, "cannot be written", &e))?;
    let err = out.try_clone().map_err(|e| at(log, "cannot be written", &e))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("`{program}` is not installed or not on the PATH: run `make setup`"),
        _ => format!("`{program}` cannot be started: {e}"),
    })
}

/// Runs it to its end, which must come within `bound`.
pub(crate) fn run(command: Command, log: &Path, bound: Duration) -> Result<(), String> {
    let mut child = spawn(command, log)?;
    let deadline = Instant::now() + bound;
    let ended = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => break format!("it ended with {status}"),
            None if Instant::now() > deadline => {
                kill_and_wait(&mut child);
                break format!("it did not end within {} s", bound.as_secs());
            }
            None => std::thread::sleep(POLL),
        }
    };
    Err(format!("{ended}. The end of {}:\n{}", log.display(), tail(log, 0)))
}

/// Kills a child and what it has started. One that has ended is left alone: its number may be another's by now.
pub(crate) fn kill_and_wait(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        let _ = child.wait();
    }
}

/// To a child that was not waited for.
pub(crate) fn signal_child(child: &Child, signal: Signal) -> Result<(), String> {
    kill_process(Pid::from_child(child), signal).map_err(|e| format!("process {} cannot be signalled: {e}", child.id()))
}

/// Stops a child where it stands (SIGSTOP) and waits until it does: the signal is taken by one thread, when it gets to
/// run, and the others go on until then.
///
/// # Errors
/// It has ended, or does not stop.
pub fn freeze(child: &Child) -> Result<(), String> {
    signal_child(child, Signal::STOP)?;
    let deadline = Instant::now() + KILL_BOUND;
    while !is(child, WaitIdOptions::STOPPED) {
        if has_ended(child) || Instant::now() > deadline {
            return Err(format!("process {} does not stop where it stands", child.id()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether it has ended; it can be waited for still.
pub(crate) fn has_ended(child: &Child) -> bool {
    is(child, WaitIdOptions::EXITED)
}

/// Whether a child has come to this. Nothing is taken away by looking.
fn is(child: &Child, this: WaitIdOptions) -> bool {
    let how = this | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(Pid::from_child(child)), how), Ok(None))
}

/// Whether this process carries this home. A zombie does not.
pub(crate) fn is_of_home(pid: u32, home: &Path) -> bool {
    let marker = marker(home);
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|arg| arg == marker.as_bytes()))
}

/// Every process that carries this home.
pub(crate) fn of_home(home: &Path) -> Vec<Ours> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| is_of_home(*pid, home))
        .map(|pid| Ours { pid, home: home.to_owned() })
        .collect()
}

/// Asks all of them to end, kills those that have not within `grace`, waits until all are gone. Without grace they are
/// killed at once.
pub(crate) fn stop_all(all: &[Ours], grace: Duration) -> Result<(), String> {
    if !grace.is_zero() {
        signal(all, Signal::TERM);
    }
    if grace.is_zero() || !gone_within(all, grace) {
        signal(all, Signal::KILL);
        if !gone_within(all, KILL_BOUND) {
            let left: Vec<_> = all.iter().filter(|ours| !ours.gone()).map(|ours| ours.pid).collect();
            return Err(format!("these processes do not stop, not even killed: {left:?}"));
        }
    }
    Ok(())
}

impl Ours {
    /// Whether its files and sockets are closed. Its command line is empty a moment earlier, so that does not tell.
    fn gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // `pid (name) state ...`: Z and X are the states of what has ended, but was not waited for.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    }

    fn as_pid(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

fn signal(all: &[Ours], signal: Signal) {
    for pid in all.iter().filter(|ours| is_of_home(ours.pid, &ours.home)).filter_map(Ours::as_pid) {
        // It may have ended since it was looked at.
        let _ = kill_process(pid, signal);
    }
}

fn gone_within(all: &[Ours], bound: Duration) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        for pid in all.iter().filter_map(Ours::as_pid) {
            // If it is our own child, it must be waited for; if not, this says so and no more.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        if all.iter().all(Ours::gone) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// What stands in a log after its first `from` bytes; empty if it cannot be read.
pub(crate) fn log_since(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// The last lines of a log after its first `from` bytes.
pub(crate) fn tail(log: &Path, from: u64) -> String {
    let text = log_since(log, from);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A process that says "up" once it runs, and carries `home` as a server does.
    fn shell(home: &Path, script: &str) -> (Child, PathBuf) {
        let log = home.join("shell.log");
        let mut command = Command::new("sh");
        // It waits in `read` of a pipe that nobody opens: without a child that would carry the home as well.
        command.current_dir(home).args(["-c", script]).arg(marker(home));
        let child = spawn(command, &log).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !log_since(&log, 0).contains("up") {
            assert!(Instant::now() < deadline, "it never ran");
            std::thread::sleep(POLL);
        }
        (child, log)
    }

    #[test]
    fn a_process_is_known_by_its_home_and_by_no_other() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut child, _) = shell(mine.path(), "mkfifo f; echo up; read x < f");
        assert!(is_of_home(child.id(), mine.path()));
        assert!(!is_of_home(child.id(), other.path()));
        assert!(!is_of_home(child.id(), &mine.path().join("deeper")));
        assert_eq!(of_home(mine.path()).len(), 1);
        kill_and_wait(&mut child);
        assert!(of_home(mine.path()).is_empty());
    }

    #[test]
    fn one_that_ignores_the_request_is_killed() {
        let home = tempfile::tempdir().unwrap();
        let (mut child, _) = shell(home.path(), "trap '' TERM; mkfifo f; echo up; while :; do read x < f; done");
        stop_all(&of_home(home.path()), Duration::from_millis(300)).unwrap();
        assert!(of_home(home.path()).is_empty());
        // Waited for already, or killed: either way it is gone.
        let _ = child.wait();
    }

    #[test]
    fn a_run_tells_how_it_failed() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("run.log");
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo no such luck; exit 3"]);
        let told = run(fails, &log, Duration::from_secs(20)).unwrap_err();
        assert!(told.contains("exit status: 3") && told.contains("no such luck"), "{told}");

        let mut hangs = Command::new("sleep");
        hangs.arg("1000");
        assert!(run(hangs, &log, Duration::from_millis(100)).unwrap_err().contains("did not end within"));

        let told = run(Command::new("no-such-program"), &log, Duration::from_secs(1)).unwrap_err();
        assert!(told.contains("not installed"), "{told}");
    }
}
