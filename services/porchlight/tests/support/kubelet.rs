//! What a kubelet does with rendered pods, by podman: it makes volumes of ConfigMaps and Secrets as the pod asks for them,
//! fills in variables, runs the containers, and ends them. The containers' own specification (image, command, arguments,
//! security contexts, limits) is handed on as it was rendered; podman knows no projected volumes and no references to
//! Secrets, so those are resolved here, and probes are asked by whoever waits.

use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::chart::object;

/// What podman needs where it may not raise its own limits and where systemd does not run.
const CONTAINERS_CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
     [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n";

/// Secrets by name, each with its keys.
pub type Secrets = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

/// It keeps everything in a folder, and ends its pods when it is dropped.
pub struct Kubelet {
    dir: PathBuf,
    objects: Vec<Value>,
    secrets: Secrets,
}

impl Kubelet {
    /// With an image, an OCI archive, that it need not pull.
    pub fn new(dir: &Path, image: &Path, objects: Vec<Value>, secrets: Secrets) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        std::fs::write(dir.join("containers.conf"), CONTAINERS_CONF).expect("its configuration");
        let kubelet = Self { dir: dir.to_owned(), objects, secrets };
        kubelet.podman(&["load", "--quiet", "--input", &image.display().to_string()]).expect("the image");
        kubelet
    }

    /// Runs the pod of a rendered object (a Pod, or what has a template of one), and answers its name. Init containers
    /// have ended when it answers.
    ///
    /// # Errors
    /// What podman says.
    pub fn run(&self, object: &Value) -> Result<String, String> {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let pod = self.resolved(name, object);
        let file = self.dir.join(format!("{name}.json"));
        std::fs::write(&file, pod.to_string()).expect("a file");
        self.podman(&["kube", "play", "--network", "host", &file.display().to_string()])?;
        Ok(name.to_owned())
    }

    /// Waits until a container has ended; its exit code.
    pub fn ended(&self, pod: &str, container: &str) -> i64 {
        let code = self.podman(&["wait", &format!("{pod}-{container}")]).expect("it is there");
        code.trim().parse().expect("a number")
    }

    /// The process of a container, as this namespace numbers it.
    pub fn pid(&self, pod: &str, container: &str) -> u32 {
        let pid = self.podman(&["inspect", "--format", "{{.State.Pid}}", &format!("{pod}-{container}")]);
        pid.expect("it is there").trim().parse().expect("a number")
    }

    /// What a container has written.
    pub fn log(&self, pod: &str, container: &str) -> String {
        self.podman(&["logs", &format!("{pod}-{container}")]).unwrap_or_else(|said| said)
    }

    /// SIGTERM, and SIGKILL after the pod's grace period. 137: it had to be killed.
    pub fn end(&self, object: &Value, container: &str) -> i64 {
        let pod = object["metadata"]["name"].as_str().expect("a name");
        let grace = template(object)["spec"]["terminationGracePeriodSeconds"].as_u64().expect("a grace period");
        self.podman(&["stop", "--time", &grace.to_string(), &format!("{pod}-{container}")]).expect("it is there");
        self.ended(pod, container)
    }

    /// Forgets a pod that has ended.
    pub fn remove(&self, pod: &str) {
        let _ = self.podman(&["pod", "rm", "--force", "--time", "0", pod]);
    }

    /// The pod as podman can run it.
    fn resolved(&self, name: &str, object: &Value) -> Value {
        let template = template(object);
        let (mut spec, group) = (template["spec"].clone(), &template["spec"]["securityContext"]["fsGroup"]);
        let group = u32::try_from(group.as_u64().expect("volumes belong to a group")).expect("a group");
        for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
            let place = self.dir.join("volumes").join(name).join(volume["name"].as_str().expect("a name"));
            self.fill(&place, volume, group);
            *volume = json!({"name": volume["name"], "hostPath": {"path": place, "type": "Directory"}});
        }
        for kind in ["initContainers", "containers"] {
            for container in spec[kind].as_array_mut().into_iter().flatten() {
                let container = container.as_object_mut().expect("a container");
                // With the host's network there is nothing to publish; who asks probes is the one who waits.
                for key in ["ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"] {
                    container.remove(key);
                }
                for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
                    let from = variable["valueFrom"]["secretKeyRef"].clone();
                    if !from.is_null() {
                        *variable =
                            json!({"name": variable["name"], "value": self.secret(&from["name"], &from["key"])});
                    }
                }
            }
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": template["metadata"]["labels"]},
            "spec": spec,
        })
    }

    /// A volume: a folder that belongs to the pod's group, as kubelet makes it.
    fn fill(&self, place: &Path, volume: &Value, group: u32) {
        // A job that is tried again finds the same.
        let _ = std::fs::remove_dir_all(place);
        std::fs::create_dir_all(place).expect("a folder");
        let write = |name: &str, text: &str, mode: u32| {
            let path = place.join(name);
            std::fs::write(&path, text).expect("a file");
            own(&path, group, mode);
        };
        if let Some(map) = volume["configMap"]["name"].as_str() {
            let map = object(&self.objects, "ConfigMap", map);
            for (name, text) in map["data"].as_object().expect("data") {
                write(name, text.as_str().expect("text"), 0o644);
            }
        } else if let Some(sources) = volume["projected"]["sources"].as_array() {
            let mode = volume["projected"]["defaultMode"].as_u64().expect("a mode");
            for secret in sources.iter().map(|source| &source["secret"]) {
                for item in secret["items"].as_array().expect("keys") {
                    let text = self.secret(&secret["name"], &item["key"]);
                    write(item["path"].as_str().expect("a path"), text, u32::try_from(mode).expect("a mode"));
                }
            }
        } else {
            assert!(volume["emptyDir"].is_object(), "no kubelet here knows {volume}");
        }
        own(place, group, if volume["emptyDir"].is_object() { 0o2777 } else { 0o2755 });
    }

    fn secret(&self, name: &Value, key: &Value) -> &str {
        let (name, key) = (name.as_str().expect("a name"), key.as_str().expect("a key"));
        let secret = self.secrets.get(name).and_then(|keys| keys.get(key));
        secret.unwrap_or_else(|| panic!("nobody made the key {key} of the Secret {name}"))
    }

    /// Images, containers and locks lie in the folder.
    fn podman(&self, args: &[&str]) -> Result<String, String> {
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_CONF", self.dir.join("containers.conf")).env("TMPDIR", &self.dir);
        for (option, folder) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            podman.arg(option).arg(self.dir.join(folder));
        }
        let told = podman.args(["--storage-driver", "vfs"]).args(args).output().map_err(|e| format!("podman: {e}"))?;
        let Output { status, stdout, stderr } = told;
        let (said, wrong) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        if status.success() { Ok(said.into_owned()) } else { Err(format!("podman {}: {said}{wrong}", args.join(" "))) }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]);
    }
}

/// The pod that an object is or makes.
fn template(object: &Value) -> &Value {
    if object["kind"] == "Pod" { object } else { &object["spec"]["template"] }
}

fn own(path: &Path, group: u32, mode: u32) {
    chown(path, Some(0), Some(group)).expect("root");
    // After the owner, whose change clears the bit of the group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("root");
}
