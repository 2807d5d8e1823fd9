//! What the chart renders, as far as tests act on it.

use std::{path::Path, time::Duration};

use porchlight::deployment::Service;
use serde_json::Value;

/// The objects of a manifest.
pub fn objects(yaml: &str) -> Vec<Value> {
    // As Kubernetes reads it: YAML 1.1, where modes of files are octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(yaml, options).expect("a manifest")
}

/// The objects that an example renders: `make helm` compares them with the chart.
pub fn golden(example: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../helm/golden/{example}.yaml"));
    objects(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The one object of this kind whose name ends so.
pub fn object<'a>(objects: &'a [Value], kind: &str, ending: &str) -> &'a Value {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut found = objects.iter().filter(|object| object["kind"] == kind && name(object).ends_with(ending));
    let only = found.next().unwrap_or_else(|| panic!("the chart renders no {kind} {ending}"));
    assert!(found.next().is_none(), "the chart renders several {kind} {ending}");
    only
}

/// How Kubernetes replaces the pods of a Deployment.
#[derive(Clone, Copy, Debug)]
pub struct Rollout {
    pub replicas: usize,
    /// How many more than that there may be.
    pub surge: usize,
    /// How many fewer may be ready.
    pub unavailable: usize,
    /// How long a pod that is to end still serves.
    pub pre_stop: Duration,
    /// From then on, until it is killed: `pre_stop` is a part of it.
    pub grace: Duration,
}

impl Rollout {
    /// That of a service.
    pub fn of(objects: &[Value], service: Service) -> Self {
        let spec = &object(objects, "Deployment", &format!("-{}", service.name()))["spec"];
        let pod = &spec["template"]["spec"];
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{}: no number: {value}", service.name()));
        let rolling = &spec["strategy"]["rollingUpdate"];
        let sleep = &pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
        Self {
            replicas: usize::try_from(number(&spec["replicas"])).expect("a few"),
            surge: usize::try_from(number(&rolling["maxSurge"])).expect("a few"),
            unavailable: usize::try_from(number(&rolling["maxUnavailable"])).expect("a few"),
            pre_stop: Duration::from_secs(if sleep.is_null() { 0 } else { number(sleep) }),
            grace: Duration::from_secs(number(&pod["terminationGracePeriodSeconds"])),
        }
    }
}
