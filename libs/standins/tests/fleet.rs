//! Servers that are hurt: killed, frozen, cut off. Real processes, and Kafka's own tools as its clients.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // the steps are shown when a test fails

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use porchlight_standins::{
    fleet::{Fleet, Layout},
    servers::Servers,
};

/// How long anything may take on a loaded machine before it is called missing.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names the folder of the fleet that a run of this file is to leave behind.
const LEAVE_IN: &str = "PORCHLIGHT_LEAVE_A_FLEET_IN";

fn up(dir: &Path, layout: Layout) -> Fleet {
    Fleet::up(dir, layout, &|step| eprintln!("{step}")).unwrap()
}

fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < until, "it did not come about: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn addresses(list: &str) -> Vec<SocketAddr> {
    list.split(',').map(|address| address.trim_start_matches("http://").parse().unwrap()).collect()
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether the other side has ended this connection, now or within a minute.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Every process that names this folder.
fn processes(dir: &Path) -> Vec<u32> {
    let dir = dir.canonicalize().unwrap().display().to_string();
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&dir))
    })
    .collect()
}

fn nothing_is_left(dir: &Path) {
    let left = processes(dir);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn three_brokers_outlive_the_loss_of_one_which_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = up(dir.path(), Layout { brokers: 3, ..Layout::default() });
    assert_eq!(fleet.names(), ["kafka-1", "kafka-2", "kafka-3"]);
    let (direct, proxied) = (fleet.direct(), fleet.proxied());
    let ports = |servers: &Servers| addresses(&servers.kafka).iter().map(SocketAddr::port).collect::<BTreeSet<_>>();
    assert!(ports(&direct).is_disjoint(&ports(&proxied)));
    // Each sends its clients on by the way they came.
    for servers in [&direct, &proxied] {
        for address in addresses(&servers.kafka) {
            eventually("all three are in the cluster", || (advertised(address) == ports(servers)).then_some(()));
        }
    }

    let tools = Tools::of(&fleet, dir.path());
    let create = ["--create", "--topic", "t", "--partitions", "3", "--replication-factor", "3"];
    tools.run("TopicCommand", &proxied, &[&create[..], &["--config", "min.insync.replicas=2"]].concat(), "");
    let lines = |from: u32| (from..from + 100).map(|n| format!("{n}\n")).collect::<String>();
    let produce = ["--topic", "t", "--request-required-acks", "all", "--request-timeout-ms", "10000"];
    tools.run("ConsoleProducer", &proxied, &produce, &lines(0));
    fleet.kill("kafka-1").unwrap();
    assert!(!fleet.answers("kafka-1") && fleet.pid("kafka-1").is_none());
    tools.run("ConsoleProducer", &proxied, &produce, &lines(100));
    let consume = ["--topic", "t", "--from-beginning", "--max-messages", "200", "--timeout-ms", "60000"];
    let read = tools.run("consumer.ConsoleConsumer", &proxied, &consume, "");
    // It also says there that one broker is away.
    let read: BTreeSet<u32> = read.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(read.into_iter().eq(0..200), "what was acknowledged is read");

    fleet.launch("kafka-1").unwrap();
    eventually("it is back in its cluster", || fleet.answers("kafka-1").then_some(()));
    assert!(fleet.launch("kafka-1").unwrap_err().contains("runs already"));
    eventually("it has all copies again", || {
        let behind = tools.run("TopicCommand", &direct, &["--describe", "--under-replicated-partitions"], "");
        (!behind.contains("Topic: ")).then_some(())
    });

    fleet.freeze("kafka-2").unwrap();
    assert!(!fleet.answers("kafka-2") && fleet.pid("kafka-2").is_some());
    eventually("the others go on", || fleet.answers("kafka-3").then_some(()));
    fleet.thaw("kafka-2").unwrap();
    eventually("it goes on", || fleet.answers("kafka-2").then_some(()));

    fleet.freeze("kafka-3").unwrap();
    drop(fleet);
    nothing_is_left(dir.path());
}

#[test]
fn an_s3_server_is_cut_off_and_frozen_and_killed_and_comes_back_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Servers { kafka: "127.0.0.1:7".into(), cassandra: "127.0.0.1:8".into(), ..none() };
    let mut fleet = up(dir.path(), Layout { s3: true, shared: Some(elsewhere), ..Layout::default() });
    let (direct, proxied) = (fleet.direct(), fleet.proxied());
    assert_eq!((&*direct.kafka, &*proxied.cassandra), ("127.0.0.1:7", "127.0.0.1:8"), "of others, as it was told");
    let told = Fleet::up(dir.path(), Layout::default(), &|_| {}).err().unwrap();
    assert!(told.contains("another fleet lives in"), "{told}");
    assert!(fleet.cut("kafka-1").unwrap_err().contains("there are: seaweedfs"));

    let put = |servers: &Servers, key: &str| servers.s3.send("PUT", key, key.as_bytes()).map(|(status, _)| status);
    let get = |servers: &Servers, key: &str| servers.s3.send("GET", key, b"").unwrap();
    assert_eq!(put(&proxied, "before").unwrap(), 200);
    assert_eq!(get(&direct, "before"), (200, b"before".to_vec()));

    let (behind, past) = (addresses(&proxied.s3.endpoint)[0], addresses(&direct.s3.endpoint)[0]);
    let open = connect(behind).unwrap();
    // Half a request: it is the server's turn to wait.
    (&open).write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let spared = connect(past).unwrap();
    (&spared).write_all(b"GET / HTTP/1.1\r\n").unwrap();
    fleet.cut("seaweedfs").unwrap();
    assert!(is_closed(&open), "an open connection is broken");
    assert_eq!(connect(behind).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    (&spared).write_all(format!("host: {past}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 9];
    (&spared).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 ", "one past the proxy is not");
    eventually("it answers past the proxy", || fleet.answers("seaweedfs").then_some(()));
    fleet.mend("seaweedfs").unwrap();
    assert_eq!(put(&proxied, "mended").unwrap(), 200);

    fleet.freeze("seaweedfs").unwrap();
    assert!(!fleet.answers("seaweedfs"));
    fleet.thaw("seaweedfs").unwrap();
    eventually("it goes on", || fleet.answers("seaweedfs").then_some(()));

    fleet.kill("seaweedfs").unwrap();
    assert!(!fleet.answers("seaweedfs") && fleet.pid("seaweedfs").is_none());
    assert!(fleet.freeze("seaweedfs").unwrap_err().contains("does not run"));
    fleet.launch("seaweedfs").unwrap();
    eventually("it is back", || fleet.answers("seaweedfs").then_some(()));
    let found = eventually("it reads", || Some(get(&proxied, "mended")).filter(|(status, _)| *status == 200));
    assert_eq!(found.1, b"mended", "where it was, with what it had");
    fleet.down().unwrap();
    nothing_is_left(dir.path());
}

#[test]
fn a_cassandra_is_cut_off_and_comes_back_and_one_that_ends_by_itself_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = up(dir.path(), Layout { cassandra: true, ..Layout::default() });
    let behind = addresses(&fleet.proxied().cassandra)[0];
    assert!(speaks_cql(behind));
    fleet.cut("cassandra").unwrap();
    assert_eq!(connect(behind).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    fleet.kill("cassandra").unwrap();
    fleet.launch("cassandra").unwrap();
    eventually("it is back", || fleet.answers("cassandra").then_some(()));
    fleet.mend("cassandra").unwrap();
    assert!(speaks_cql(behind), "where it was");

    let pid = fleet.pid("cassandra").unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    eventually("it has ended", || fleet.pid("cassandra").is_none().then_some(()));
    let told = fleet.down().unwrap_err();
    assert!(told.starts_with("cassandra ended (signal: 9") && told.contains("The end of "), "{told}");
    nothing_is_left(dir.path());
}

/// Whether it answers OPTIONS with SUPPORTED (CQL native protocol v4, sections 2 and 4).
fn speaks_cql(address: SocketAddr) -> bool {
    let mut stream = connect(address).unwrap();
    stream.write_all(&[0x04, 0, 0, 0, 0x05, 0, 0, 0, 0]).unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).is_ok() && header[4] == 0x06
}

/// Run as a process of its own, which is killed: it leaves its fleet behind.
#[test]
fn what_a_killed_run_left_is_ended_by_the_next() {
    if let Some(dir) = std::env::var_os(LEAVE_IN).map(PathBuf::from) {
        let _fleet = up(&dir, Layout::default());
        std::fs::write(dir.join("is-up"), "").unwrap();
        loop {
            std::thread::park();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "what_a_killed_run_left_is_ended_by_the_next"]).env(LEAVE_IN, dir.path());
    let mut run = Killed(run.stdout(Stdio::null()).spawn().unwrap());
    eventually("it has a fleet", || dir.path().join("is-up").exists().then_some(()));
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    let left = processes(dir.path());
    assert_eq!(left.len(), 1, "its proxies live on");

    let fleet = up(dir.path(), Layout::default());
    let now = processes(dir.path());
    assert!(now.len() == 1 && now != left, "those of the new fleet, and no others: {now:?}");
    drop(fleet);
    nothing_is_left(dir.path());
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn none() -> Servers {
    let s3 =
        serde_json::json!({"endpoint": "", "bucket": "", "region": "", "access_key_id": "", "secret_access_key": ""});
    serde_json::from_value(serde_json::json!({"kafka": "", "cassandra": "", "s3": s3, "pids": {}})).unwrap()
}

/// The ports at which the broker at this address tells its clients to find the brokers: its answer to Metadata, version
/// 4, in which each host is followed by its port.
fn advertised(address: SocketAddr) -> BTreeSet<u16> {
    const REQUEST: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];
    const HOST: &[u8] = b"127.0.0.1";
    let mut stream = connect(address).unwrap();
    stream.write_all(&REQUEST).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let hosts = answer.windows(HOST.len() + 4).filter(|window| window.starts_with(HOST));
    hosts.map(|host| u16::from_be_bytes([host[HOST.len() + 2], host[HOST.len() + 3]])).collect()
}

/// Kafka's own command line, from the jars (and the archive of what is in them) that a broker runs from.
struct Tools {
    jars: String,
    archive: String,
    dir: PathBuf,
}

impl Tools {
    fn of(fleet: &Fleet, dir: &Path) -> Self {
        let line = std::fs::read(format!("/proc/{}/cmdline", fleet.pid("kafka-1").unwrap())).unwrap();
        let args: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let jars = args.iter().skip_while(|arg| *arg != "-cp").nth(1).unwrap().to_string();
        let archive = args.iter().find(|arg| arg.starts_with("-XX:SharedArchiveFile=")).unwrap().to_string();
        Self { jars, archive, dir: dir.join("kafka-1") }
    }

    /// What it prints.
    fn run(&self, tool: &str, servers: &Servers, args: &[&str], input: &str) -> String {
        let mut java = Command::new("java");
        java.current_dir(&self.dir).args([&self.archive, "-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        java.args(["-Dlog4j2.configurationFile=log4j2.properties", "-cp", &self.jars]);
        java.arg(format!("org.apache.kafka.tools.{tool}")).args(["--bootstrap-server", &servers.kafka]).args(args);
        let mut java = java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        java.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = java.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{tool}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}
