//! A record that cannot be read goes to the dead letters with its origin and its bytes, and what follows it is handled.

mod support;

use porchlight_bus::{DeadLetter, From, Producer, Reader, Topic};
use porchlight_domain::{Clock, SystemClock};
use support::{Scene, event, eventually, household};

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_aside_and_the_consumer_goes_on() {
    let mut scene = Scene::new("poison", &["Malden"], |_| 1).await;
    let owner = scene.settle(&household("owner", "Malden", -71.0662, 42.4251, Some(&["person"]))).await;
    let camera = owner.cameras[0].clone();

    let kafka = scene.city.deployment.settings().kafka();
    let producer = Producer::new(&kafka).expect("a producer");
    let key = camera.device.as_bytes().as_slice();
    let poison = producer
        .send(Topic::Events, Some(key), b"\xff\x00 no message", &[("origin", b"a test")])
        .await
        .expect("delivered");
    // Behind it on the same partition, under the same key.
    scene.send(&camera, &event("ding", &[], SystemClock.now())).await;
    scene.all_arrived().await;

    let letter = eventually("the dead letter", || async {
        let mut reader = Reader::open(&kafka, Topic::DeadLetters, From::Beginning).await.ok()?;
        reader.next_existing().await.ok()?
    })
    .await;
    let letter: DeadLetter = prost::Message::decode(letter.value.as_slice()).expect("a dead letter");
    assert_eq!((letter.partition, letter.offset), (poison.partition, poison.offset));
    assert!(letter.topic.ends_with("events.v1"), "{}", letter.topic);
    assert_eq!((letter.stage.as_str(), letter.value.as_slice()), ("geo-index", b"\xff\x00 no message".as_slice()));
    assert_eq!(letter.key.as_deref(), Some(key));
    assert!(letter.headers.iter().any(|h| h.name == "origin" && h.value == b"a test"));
    scene.end().await;
}
