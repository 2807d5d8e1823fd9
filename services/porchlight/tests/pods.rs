//! The rendered chart really runs: the image, in containers under the restricted contexts, on servers that want TLS and
//! passwords, and one event goes the whole way. `.ci/helm-full` runs it, in namespaces of its own.

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use porchlight::{
    city::{
        founding::neighborhood_id,
        life::{News, Tally, send_until_accepted, store_until_completed},
        people::{Camera, Resident, TownHall},
        witness::Witness,
    },
    client::{Client, MediaFile},
    deployment::Service,
};
use porchlight_domain::{Clock as _, SystemClock};
use porchlight_standins::{
    issuer::Issuer,
    phones::Phones,
    servers::{
        S3Server,
        secure::{Authority, CASSANDRA_USER, KAFKA_USER, SecureCassandra, SecureKafka, SecureS3},
    },
};
use porchlight_synth::{MASSACHUSETTS, towns};
use serde_json::{Value, json};
use support::{
    PATIENCE,
    chart::{object, objects},
    event, eventually, household,
    kubelet::{Kubelet, Secrets},
    sample,
    sse::Connection,
};
use uuid::Uuid;

const KAFKA_PASSWORD: &str = "opens-nothing-but-this-loopback";
/// The ports that the chart gives the pods.
const GATEWAY: &str = "http://127.0.0.1:8104";
const INGEST: &str = "http://127.0.0.1:8101";
/// How often the job is tried: the database makes its first user a moment after its port opens.
const TRIES: usize = 10;

/// Servers that want to know who asks, over TLS.
struct Servers {
    kafka: SecureKafka,
    cassandra: SecureCassandra,
    s3: SecureS3,
}

impl Servers {
    fn up(dir: &Path, authority: &Authority) -> Self {
        std::thread::scope(|scope| {
            let kafka = scope.spawn(|| SecureKafka::up(&dir.join("kafka"), authority, KAFKA_PASSWORD));
            let s3 = scope.spawn(|| SecureS3::up(&dir.join("s3"), authority));
            let cassandra = SecureCassandra::up(&dir.join("cassandra"), authority).expect("Cassandra");
            let (kafka, s3) = (kafka.join().expect("no panic"), s3.join().expect("no panic"));
            Self { kafka: kafka.expect("Kafka"), cassandra, s3: s3.expect("the S3 server") }
        })
    }
}

/// What differs from the example.
fn values(servers: &Servers, s3: &S3Server, issuer: &str) -> Value {
    let loopback = json!({"push": {"allow_private_addresses": true}});
    json!({
        "image": {"repository": "localhost/porchlight"},
        "kafka": {
            "bootstrapServers": servers.kafka.sasl_ssl(),
            "securityProtocol": "sasl_ssl",
            "ca": {"existingSecret": "kafka-ca"},
            "auth": {"username": KAFKA_USER, "existingSecret": "kafka-user"},
        },
        "cql": {
            "contactPoints": [servers.cassandra.address()],
            "username": CASSANDRA_USER,
            "existingSecret": "db-user",
            "tls": {"enabled": true, "ca": {"existingSecret": "db-ca"}},
        },
        "s3": {
            "endpoint": s3.endpoint,
            "publicEndpoint": s3.endpoint,
            "region": s3.region,
            "bucket": s3.bucket,
            "ca": {"existingSecret": "s3-ca"},
        },
        "auth": {"issuer": issuer},
        "notification": {"config": loopback},
        "gateway": {"config": loopback},
    })
}

fn secrets(authority: &Authority, s3: &S3Server) -> Secrets {
    let ca = || [("ca.crt", authority.certificate().to_owned())].into();
    [
        ("kafka-ca", ca()),
        ("kafka-user", [("password", KAFKA_PASSWORD.to_owned())].into()),
        ("db-ca", ca()),
        ("db-user", [("password", CASSANDRA_USER.to_owned())].into()),
        ("s3-ca", ca()),
        (
            "porchlight-s3",
            [("access-key-id", s3.access_key_id.clone()), ("secret-access-key", s3.secret_access_key.clone())].into(),
        ),
        (
            "porchlight-keys",
            [
                ("grant-key", porchlight_clips::GrantKey::generate()),
                ("vapid-private-key", porchlight_push::mint_vapid_key()),
            ]
            .into(),
        ),
    ]
    .into()
}

fn rendered(dir: &Path, values: &Value) -> Vec<Value> {
    let helm = std::env::var("HELM").expect(".ci/helm-full says where Helm is");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = dir.join("values.json");
    std::fs::write(&file, values.to_string()).expect("a file");
    let told = Command::new(helm)
        .args(["template", "porchlight", "helm/porchlight", "--values", "helm/examples/small.yaml", "--values"])
        .arg(&file)
        .current_dir(root)
        .output()
        .expect("Helm runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    objects(&String::from_utf8(told.stdout).expect("text"))
}

/// Tables and topics, as the job of the chart makes them; again while it fails, as a job is.
fn migrate(kubelet: &Kubelet, job: &Value) {
    let mut said = String::new();
    for _ in 0..TRIES {
        let ran = kubelet.run(job);
        let pod = job["metadata"]["name"].as_str().expect("a name");
        let done = ran.is_ok() && kubelet.ended(pod, "topics") == 0;
        said = format!("{ran:?}\n{}\n{}", kubelet.log(pod, "schema"), kubelet.log(pod, "topics"));
        kubelet.remove(pod);
        if done {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("the migration does not succeed: {said}");
}

/// Where a pod's probes ask.
fn admin(deployment: &Value) -> String {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_array().expect("ports");
    let port = ports.iter().find(|port| port["name"] == container["readinessProbe"]["httpGet"]["port"]);
    format!("http://127.0.0.1:{}", port.expect("the probe's port")["containerPort"])
}

async fn ready(kubelet: &Kubelet, deployment: &Value, service: Service) {
    let probe = &deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    let url = format!("{}{}", admin(deployment), probe["path"].as_str().expect("a path"));
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = reqwest::get(&url).await;
        if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        if Instant::now() > until {
            let said = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(e) => e.to_string(),
            };
            let log = kubelet.log(deployment["metadata"]["name"].as_str().expect("a name"), service.name());
            panic!("{} is not ready: {said}\n{log}", service.name());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The contexts of the chart are in force, as the kernel says.
fn is_restricted(pid: u32, who: &str) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (name, value) in [
        ("Uid:", "65532 65532 65532 65532"),
        ("Gid:", "65532 65532 65532 65532"),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        assert_eq!(field(name), value, "{who}: {name}");
    }
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("it runs");
    let options = |at: &str| {
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|mount| mount[4] == at).unwrap_or_else(|| panic!("{who}: nothing is mounted at {at}"));
        mount[5].split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    for at in ["/", "/etc/porchlight/config", "/etc/porchlight/secrets"] {
        assert!(options(at).contains(&"ro".to_owned()), "{who}: {at} can be written: {:?}", options(at));
    }
    assert!(options("/var/lib/porchlight").contains(&"rw".to_owned()), "{who} cannot write its snapshot");
}

/// The same camera, with a line that trusts the store of objects.
fn trusting(camera: &Camera, authority: &Authority) -> Camera {
    let trusted = reqwest::Certificate::from_pem(authority.certificate().as_bytes()).expect("a certificate");
    let http = reqwest::Client::builder().add_root_certificate(trusted).build().expect("a client");
    Camera { line: Client::new(&http, INGEST, camera.line.token()), ..camera.clone() }
}

/// Who lives where, and what they are told of an event of `owner`'s camera.
async fn an_event_goes_the_whole_way(hall: &TownHall, authority: &Authority, admins: &[String]) {
    let mut witness = Witness::default();
    for town in towns(MASSACHUSETTS).into_iter().filter(|town| ["Malden", "Quincy"].contains(&town.name.as_str())) {
        let id = neighborhood_id(&town.name);
        hall.publish(id, &town.name, &town.geometry).await.expect("published");
        witness.neighborhood(id, &town.geometry);
    }
    let mut people: Vec<Resident> = Vec::new();
    let mut owner = household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]));
    owner.cameras[0].clips = true;
    for home in [
        owner,
        household("neighbor", "Malden", -71.0650, 42.4300, None),
        household("stranger", "Quincy", -71.0023, 42.2529, None),
    ] {
        let resident = hall.settle(&home).await.expect("settled");
        witness.resident(&resident);
        people.push(resident);
    }
    let [owner, neighbor, stranger] = &people[..] else { panic!("three") };
    let mut stream = Connection::open(GATEWAY, neighbor.app.token(), None).await.expect("a stream");
    let mut foreign = Connection::open(GATEWAY, stranger.app.token(), None).await.expect("a stream");

    let (camera, tally) = (trusting(&owner.cameras[0], authority), Tally::default());
    let motion = event("motion", &["person"], SystemClock.now());
    let received_at = send_until_accepted(&camera, &motion, &tally).await.expect("acknowledged");
    witness.accepted(camera.device, &motion, received_at.0);
    let seen = stream.within(PATIENCE).await.expect("the neighbor's stream shows it");
    let id: Uuid = motion["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let item = witness.world().item_of(camera.device, id).expect("it happened");
    assert_eq!((&seen.data["id"], &seen.data["scope"]), (&json!(item.to_string()), &json!("neighborhood")));

    // A clip: a grant of ingest, an upload to the store over TLS, and ingest's own look at what was put.
    let file = MediaFile { kind: "clip", content_type: "video/mp4", bytes: b"a clip of this one event".to_vec() };
    let stored = store_until_completed(&camera, id, file, &tally).await.expect("completed");
    assert!(matches!(&stored, News::Media { event, .. } if *event == id));
    witness.note(&camera, &stored);

    eventually("what must arrive has arrived, and nothing waits", || {
        witness.observe(hall.phones());
        let due = witness.judge_pushes(i64::MAX).missing;
        async move {
            let mut lag = 0.0;
            for admin in admins {
                lag += sample(admin, "porchlight_bus_consumer_lag_records", "").await;
            }
            (lag == 0.0 && due.is_empty()).then_some(())
        }
    })
    .await;
    witness.observe(hall.phones());
    let verdict = witness.judge_pushes(i64::MAX);
    assert!(verdict.is_clean() && witness.judge_payloads().is_empty(), "{verdict:#?}");
    // The clip was news to the household, and took the place of what its phone showed.
    for (who, shown) in [(owner, 1), (neighbor, 1), (stranger, 0)] {
        let phone = who.phone.as_deref().expect("a phone");
        assert_eq!(hall.phones().shown(phone).len(), shown, "{}", who.subject);
    }
    let shown = neighbor.app.get(&format!("/v1/items/{item}")).await.expect("an answer");
    assert_eq!(shown.ok().expect("shown")["id"], item.to_string());
    let refused = stranger.app.get(&format!("/v1/items/{item}")).await.expect("an answer");
    let unknown = stranger.app.get(&format!("/v1/items/{}", Uuid::new_v4())).await.expect("an answer");
    assert_eq!((refused.status.as_u16(), &refused.body), (404, &unknown.body), "as if it did not exist");
    assert!(stranger.app.pages("/v1/feed", "items").await.expect("a feed").is_empty());
    assert_eq!(foreign.within(Duration::from_millis(500)).await, None, "nothing is streamed to a stranger");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, podman and the image: make helm-full"]
async fn the_rendered_pods_run_restricted_on_servers_with_tls_and_an_event_goes_the_whole_way() {
    let image = PathBuf::from(std::env::var("PORCHLIGHT_IMAGE").expect(".ci/helm-full says where the image is"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new("ours").expect("an authority");
    let servers = tokio::task::block_in_place(|| Servers::up(&dir.path().join("servers"), &authority));
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let issuer = Arc::new(Issuer::start(anywhere, None).await.expect("an issuer"));
    let phones = Arc::new(Phones::start(anywhere).await.expect("phones"));
    let s3 = servers.s3.client();
    let chart = rendered(dir.path(), &values(&servers, &s3, issuer.url()));

    let kubelet = tokio::task::block_in_place(|| {
        Kubelet::new(&dir.path().join("kubelet"), &image, chart.clone(), secrets(&authority, &s3))
    });
    tokio::task::block_in_place(|| migrate(&kubelet, object(&chart, "Job", "-migrate")));
    let deployments = Service::ALL.map(|service| (service, object(&chart, "Deployment", service.name())));
    for (service, deployment) in &deployments {
        let pod = tokio::task::block_in_place(|| kubelet.run(deployment)).expect("it runs");
        ready(&kubelet, deployment, *service).await;
        is_restricted(kubelet.pid(&pod, service.name()), service.name());
    }
    // What `helm test` runs: all four servers are asked, from within a pod.
    tokio::task::block_in_place(|| {
        let pod = kubelet.run(object(&chart, "Pod", "-test")).expect("it runs");
        assert_eq!(kubelet.ended(&pod, "doctor"), 0, "{}", kubelet.log(&pod, "doctor"));
    });

    let hall = TownHall::new(GATEWAY.into(), vec![INGEST.into()], issuer.clone(), phones.clone());
    let admins = deployments.map(|(_, deployment)| admin(deployment));
    an_event_goes_the_whole_way(&hall, &authority, &admins).await;

    for (service, deployment) in deployments {
        let code = tokio::task::block_in_place(|| kubelet.end(deployment, service.name()));
        assert_eq!(code, 0, "{} drains and ends within its grace period", service.name());
    }
}
