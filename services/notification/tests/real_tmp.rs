#![allow(clippy::unwrap_used, missing_docs, warnings)]
use std::{process::{Child, Command, Stdio}, time::{Duration, Instant}};
use base64::Engine as _;
use porchlight_bus::{Producer, Topic, apply_topics, drop_topics};
use porchlight_domain::*;
use porchlight_store::*;
use porchlight_wire::{NeighborhoodRecord, Wire as _};
use uuid::Uuid;

fn spawn(bin: &str, env: &[(String, String)], name: &str) -> Child {
    let log = std::fs::OpenOptions::new().append(true).create(true).open(format!("/tmp/smoke-{name}.log")).unwrap();
    Command::new(format!("/work/main/target/debug/{bin}")).envs(env.iter().cloned()).stderr(log).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let servers: serde_json::Value = serde_json::from_slice(&std::fs::read("/tmp/servers/servers.json").unwrap()).unwrap();
    let id = Uuid::new_v4().simple().to_string();
    let phones = porchlight_standins::phones::Phones::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let key = porchlight_push::mint_vapid_key();
    let base = [
        ("PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS", servers["kafka"].as_str().unwrap().to_owned()),
        ("PORCHLIGHT_KAFKA__TOPIC_PREFIX", format!("smoke-{id}-")),
        ("PORCHLIGHT_KAFKA__GROUP_PREFIX", format!("smoke-{id}-")),
        ("PORCHLIGHT_CQL__CONTACT_POINTS", format!("[{:?}]", servers["cassandra"].as_str().unwrap())),
        ("PORCHLIGHT_CQL__KEYSPACE", format!("smoke_{id}")),
        ("PORCHLIGHT_PUSH__VAPID_PRIVATE_KEY", key),
        ("PORCHLIGHT_PUSH__VAPID_SUBJECT", "mailto:a@b.invalid".into()),
        ("PORCHLIGHT_PUSH__ALLOW_PRIVATE_ADDRESSES", "true".into()),
        ("PORCHLIGHT_PUSH__RECORDER_URL", phones.url().to_owned()),
        ("PORCHLIGHT_ADMIN__LISTEN", "127.0.0.1:0".into()),
    ].map(|(k, v)| (k.to_owned(), v)).to_vec();
    let config: porchlight_notification::Config = porchlight_chassis::config::load(porchlight_notification::DEFAULT_TOML, None, base.clone()).unwrap();
    let env = |n: &str| { let mut e = base.clone(); let f = format!("/tmp/smoke-{n}.addr"); let _ = std::fs::remove_file(&f); e.push(("PORCHLIGHT_ADMIN__ADDRESS_FILE".into(), f)); e };
    let _ = std::fs::remove_file("/tmp/smoke-geo.log"); let _ = std::fs::remove_file("/tmp/smoke-not.log");
    // Started before topics and schema are there.
    let mut geo = spawn("porchlight-geo-index", &env("geo"), "geo");
    let mut not = spawn("porchlight-notification", &env("not"), "not");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let client = reqwest::Client::new();
    for n in ["geo", "not"] {
        let a = std::fs::read_to_string(format!("/tmp/smoke-{n}.addr")).unwrap();
        println!("{n}: {}", client.get(format!("http://{a}/readyz")).send().await.unwrap().text().await.unwrap());
    }
    apply_topics(&config.kafka, 4, 1).await.unwrap();
    apply_schema(&config.cql, 1).await.unwrap();
    let store = Store::connect(&config.cql).await.unwrap();
    let producer = Producer::new(&config.kafka).unwrap();
    let now = SystemClock.now();

    // A town of 40 neighbors; household 1 has the cameras.
    let town = NeighborhoodRecord { id: NeighborhoodId(Uuid::new_v4()), name: "Malden".into(), deleted: false, version: Version(1), updated_at: now,
        parts: vec![vec![vec![Point{lon_e7:0,lat_e7:0},Point{lon_e7:500_000,lat_e7:0},Point{lon_e7:500_000,lat_e7:500_000},Point{lon_e7:0,lat_e7:500_000}]]] };
    store.registry.put_neighborhood(&town, None).await.unwrap();
    producer.send(Topic::Neighborhoods, Some(town.id.0.as_bytes()), &town.encode(), &[]).await.unwrap();
    let b64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    for n in 1..=40_u128 {
        let rid = ResidentId(Uuid::new_v4());
        let (rid, hh) = (rid, HouseholdId(Uuid::from_u128(n)));
        let (_, url, p, a) = phones.subscribe();
        let chosen = ChosenId(Uuid::new_v4());
        let e = Endpoint { id: EndpointId::scoped(rid, chosen), chosen, transport: Transport::WebPush { url, p256dh: b64.decode(p).unwrap(), auth: b64.decode(a).unwrap() }, registered_at: now };
        store.registry.put_resident(&Resident { id: rid, household: hh, endpoints: vec![e], version: Version(1) }, None).await.unwrap();
        store.registry.add_resident(hh, rid).await.unwrap();
        let home = Home { id: HomeId(Uuid::new_v4()), chosen: ChosenId(Uuid::new_v4()), household: hh, name: "h".into(), point: Point { lon_e7: 10_000 * n as i32, lat_e7: 1000 }, verified: true, deleted: false, since: now, version: Version(1) };
        store.registry.put_home(&home, None).await.unwrap();
        store.registry.set_home(hh, home.id, true).await.unwrap();
        store.registry.place_home(&PlacedHome { home: home.id, household: hh, point: home.point, verified: true, residents: vec![rid], version: Version(1) }).await.unwrap();
    }
    for n in ["geo", "not"] {
        let t = Instant::now();
        loop {
            let a = std::fs::read_to_string(format!("/tmp/smoke-{n}.addr")).unwrap();
            let r = client.get(format!("http://{a}/readyz")).send().await.unwrap();
            if r.status() == 200 { break; }
            assert!(t.elapsed() < Duration::from_secs(60), "{}", r.text().await.unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("{n} ready after {:?}", t.elapsed());
    }
    let event = |device: u128| {
        let now = SystemClock.now();
        let event = Event { id: EventId(Uuid::now_v7()), kind: Kind::Motion, labels: [Label::Person].into_iter().collect(), occurred_at: now, ended_at: None, familiar: false, confidence_permille: None, zone: None };
        Stamped { digest: event.digest(), event, device: DeviceId(Uuid::from_u128(device)), household: HouseholdId(Uuid::from_u128(1)), point: Point { lon_e7: 10_000, lat_e7: 1000 }, policy: SharingPolicy::sharing([Label::Person]), plan: Plan::default(), sent_at: now, received_at: now }
    };
    let send = async |s: &Stamped| { producer.send(Topic::Events, Some(s.device.0.as_bytes()), &s.encode(), &[]).await.unwrap(); };
    for round in 0..5 {
        let t = Instant::now();
        let before = phones.log(0).len();
        send(&event(1000 + round)).await;
        let got = phones.wait_for(before as u64, 40, Duration::from_secs(60)).await;
        println!("round {round}: {} pushes in {:?}", got.len(), t.elapsed());
    }
    let before = phones.log(0).len();
    assert_eq!(before, 200);
    // Kill both while events come.
    let mut sent = Vec::new();
    for n in 0..60_u128 {
        let e = event(2000 + n);
        send(&e).await;
        sent.push(e);
        if n == 20 { geo.kill().unwrap(); geo.wait().unwrap(); }
        if n == 30 { not.kill().unwrap(); not.wait().unwrap(); geo = spawn("porchlight-geo-index", &env("geo"), "geo"); }
        if n == 40 { not = spawn("porchlight-notification", &env("not"), "not"); }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    send(&sent[0].clone()).await;
    let t = Instant::now();
    let expect = 200 + 60 * 40;
    let distinct = |phones: &porchlight_standins::phones::Phones| {
        let all = phones.log(0);
        let d: std::collections::HashSet<_> = all.iter().map(|p| (p.endpoint.clone(), p.topic.clone())).collect();
        (all.len(), d.len())
    };
    while distinct(&phones).1 < expect {
        assert!(t.elapsed() < Duration::from_secs(120), "{:?} of {expect}", distinct(&phones));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("all {:?} after {:?}", distinct(&phones), t.elapsed());
    let mut rows = 0;
    for e in &sent {
        rows += store.timeline.seen_on(e.device, e.event.id.day().unwrap()).await.unwrap().len();
    }
    assert_eq!(rows, 61);
    for n in ["geo", "not"] {
        let a = std::fs::read_to_string(format!("/tmp/smoke-{n}.addr")).unwrap();
        let m = client.get(format!("http://{a}/metrics")).send().await.unwrap().text().await.unwrap();
        for l in m.lines().filter(|l| !l.starts_with('#') && l.starts_with("porchlight_") && !l.ends_with(" 0") && (!l.contains("_bucket") || l.contains("handover"))) { println!("  {l}"); }
    }
    for (c, n) in [(&mut geo, "geo"), (&mut not, "not")] {
        let t = Instant::now();
        Command::new("kill").args(["-TERM", &c.id().to_string()]).status().unwrap();
        let s = c.wait().unwrap();
        println!("{n} exit {:?} after {:?}", s.code(), t.elapsed());
    }
    drop_topics(&config.kafka).await.unwrap();
}
