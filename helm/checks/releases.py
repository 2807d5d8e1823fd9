"""The life of a release in a real cluster: releases.py BEFORE CHART EXAMPLE...

Each example is installed as the version before, upgraded, rolled back and uninstalled, in a namespace of its own that enforces
the Pod Security level `restricted`. Simulated nodes say of each pod that it runs, and of each test and each job that it
ended well: what a kubelet would wait for, or be refused, is looked at here instead.
"""

import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import time

import yaml

BEFORE, CHART, *EXAMPLES = sys.argv[1:]
CRDS = pathlib.Path("helm/checks/crds")
SECONDS = 120
# What a namespace has of itself.
OWN = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
# What must outlive the release.
HOLD_DATA = {"Kafka", "KafkaNodePool", "KafkaTopic", "ScyllaCluster"}


class Wrong(Exception):
    pass


def check(holds, sentence):
    if not holds:
        raise Wrong(sentence)


def say(sentence):
    print(f"helm-cluster: {sentence}", file=sys.stderr, flush=True)


def run(*command, said=None):
    done = subprocess.run(command, input=said, capture_output=True, text=True)
    # On a machine that stood still for a moment, what only reads is asked once more.
    if done.returncode and command[1] == "get" and "Unable to connect" in done.stderr:
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(command[1:3])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def kubectl(*arguments, said=None):
    return run(os.environ["KUBECTL"], *arguments, said=said)


def helm(*arguments):
    return run(os.environ["HELM"], *arguments)


def make(*objects):
    kubectl("create", "-f", "-", said=yaml.safe_dump_all(objects))


def objects(kinds, namespace, *arguments):
    return json.loads(kubectl("get", kinds, "--namespace", namespace, "--output", "json", *arguments))["items"]


def eventually(condition, sentence):
    """Waits until `condition` gives nothing more to wait for; `sentence` tells what it gave last."""
    end = time.monotonic() + SECONDS
    while left := condition():
        check(time.monotonic() < end, f"{sentence}: {left}")
        time.sleep(0.5)


def name(of):
    return of["kind"], of["metadata"]["name"]


def open_schema(schema):
    """A strict JSON schema as the API server wants it: it drops unknown keys by itself, and refuses them when asked to."""
    if isinstance(schema, dict):
        return {key: open_schema(each) for key, each in schema.items()
                if not (key == "$schema" or key == "additionalProperties" and each is False)}
    return [open_schema(each) for each in schema] if isinstance(schema, list) else schema


def definition(path):
    group, version, _ = path.stem.split("_")
    schema = open_schema(json.loads(path.read_text()))
    kind = next(each for each in KINDS if each.lower() == path.stem.split("_")[2])
    plural = re.sub("ys$", "ies", f"{kind.lower()}s")
    schema["properties"]["metadata"] = {"type": "object"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        # Groups below k8s.io are not for everybody.
        "metadata": {"name": f"{plural}.{group}", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                 "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                               "schema": {"openAPIV3Schema": schema}}]},
    }


KINDS = ["Certificate", "HTTPRoute", "Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "ScaledObject", "TriggerAuthentication",
         "PrometheusRule", "ServiceMonitor", "ScyllaCluster"]


def secrets_of(values, path=()):
    """The Secrets that an operator makes, as (name, keys), by where the values name them."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from secrets_of(value, (*path, key))
        elif key == "existingSecret":
            wanted = {"keys": ["grant-key", "vapid-private-key"], "s3": ["access-key-id", "secret-access-key"],
                      "ca": ["ca.crt"], "client": ["tls.crt", "tls.key"], "tls": ["tls.crt", "tls.key"]}
            yield value, wanted.get(path[-1], [values[each] for each in ("certificateKey", "privateKeyKey") if each in values] or ["password"])


def keys_there(namespace):
    there = {(kind, each["metadata"]["name"], key) for kind in ("Secret", "ConfigMap")
             for each in objects(kind, namespace) for key in each.get("data", {})}
    # No operator runs here: these Strimzi would make.
    there |= {("Secret", each["metadata"]["name"], "password") for each in objects("kafkausers", namespace)}
    return there | {("Secret", f"{each['metadata']['name']}-cluster-ca-cert", "ca.crt") for each in objects("kafkas", namespace)}


def keys_wanted(spec):
    """What of Secrets and ConfigMaps the kubelet needs before it starts a pod."""
    for volume in spec.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            for item in source.get("secret", {}).get("items", []):
                yield "Secret", source["secret"]["name"], item["key"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
    for container in spec["containers"] + spec.get("initContainers", []):
        for variable in container.get("env", []):
            for form, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if form in variable.get("valueFrom", {}):
                    yield kind, variable["valueFrom"][form]["name"], variable["valueFrom"][form]["key"]


def has_token(spec):
    """Whether the API server put a token of the ServiceAccount into a pod."""
    return any("serviceAccountToken" in source for volume in spec.get("volumes", [])
               for source in volume.get("projected", {}).get("sources", []))


def refused(namespace):
    return [each["message"] for each in objects("events", namespace, "--field-selector", "reason=FailedCreate")]


def running(namespace, version):
    """Every process runs in `version`, and every pod is one that a kubelet would start."""
    for each in objects("deployments", namespace):
        status, wanted = each["status"], each["spec"]["replicas"]
        check(status.get("readyReplicas") == status.get("updatedReplicas") == wanted > 0,
              f"{name(each)} has not {wanted} ready pods after --wait: {status}")
        labels = each["spec"]["template"]["metadata"]["labels"]
        check(labels["app.kubernetes.io/version"] == version, f"{name(each)} is of {labels}, and should be of {version}")
    pods, there = objects("pods", namespace), keys_there(namespace)
    check(len(pods) >= 4, f"there are only {len(pods)} pods")
    for pod in pods:
        check(not has_token(pod["spec"]), f"{name(pod)} has a token of its ServiceAccount, and needs none")
        for kind, which, key in keys_wanted(pod["spec"]):
            check(any(each[:2] == (kind, which) and key in (None, each[2]) for each in there),
                  f"{name(pod)} would wait for ever: it needs {key or 'all keys'} of {kind} {which}")
    check(not refused(namespace), f"pods were refused: {refused(namespace)}")


def migrations(namespace):
    """When each migration ended well, in order. By events, for where the first one is no hook, the first upgrade removes it:
    Helm takes it for an object that the new version has no more."""
    done = objects("events", namespace, "--field-selector", "reason=Completed,involvedObject.kind=Job")
    return sorted(each["firstTimestamp"] or each["eventTime"] for each in done)


def migrated(namespace, times, when):
    """Waits, for the event of a job's end comes a moment after the job says so."""
    eventually(lambda: len(migrations(namespace)) != times and (migrations(namespace) or "none"),
               f"{namespace}: {when} there should be {times} migrations that ended well, but there are")


def tested(namespace):
    helm("test", "porchlight", "--namespace", namespace, "--timeout", f"{SECONDS}s")
    phase = objects("pods", namespace, "--selector", "app.kubernetes.io/component=test")[0]["status"]["phase"]
    check(phase == "Succeeded", f"the test's pod is {phase}")


def partitions_of(namespace):
    return {each["metadata"]["name"]: each["spec"]["partitions"] for each in objects("kafkatopics", namespace)}


def everything(namespace):
    kinds = kubectl("api-resources", "--namespaced", "--verbs", "list", "--output", "name").split()
    kinds = ",".join(each for each in kinds if each not in ("events", "events.events.k8s.io"))
    return {name(each): each for each in objects(kinds, namespace)}


def life(example):
    namespace, values = pathlib.Path(example).stem, yaml.safe_load(pathlib.Path(example).read_text())
    chart = yaml.safe_load((pathlib.Path(CHART) / "Chart.yaml").read_text())["version"]
    where = ("--namespace", namespace, "--wait", "--timeout", f"{SECONDS}s")
    migrates = values.get("migrate", {}).get("enabled", True)
    restricted(namespace)
    for secret, keys in dict(secrets_of(values)).items():
        make({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace},
              "stringData": {key: secrets.token_hex(16) for key in keys}})
    eventually(lambda: OWN - set(everything(namespace)), f"{namespace} lacks")
    ours = set(everything(namespace))

    say(f"{namespace}: install of the version before")
    helm("install", "porchlight", BEFORE, "--values", example, *where)
    running(namespace, "0.0.1")
    migrated(namespace, 1 * migrates, "after the install")
    say(f"{namespace}: test, upgrade, test")
    tested(namespace)
    partitions = partitions_of(namespace)
    helm("upgrade", "porchlight", CHART, "--values", example, "--set", "kafka.partitions=64", *where)
    running(namespace, chart)
    check(partitions_of(namespace) == partitions, f"the upgrade changed partitions of {partitions} to {partitions_of(namespace)}")
    migrated(namespace, 2 * migrates, "after the upgrade")
    ended = migrations(namespace)[migrates:]
    # Times are of whole seconds.
    first = min(each["metadata"]["creationTimestamp"] for each in objects("replicasets", namespace)
                if each["metadata"]["labels"]["app.kubernetes.io/version"] == chart)
    check(all(each <= first for each in ended), f"pods of {chart} were made at {first}, before the migration ended: {ended}")
    tested(namespace)
    say(f"{namespace}: rollback and back again, uninstall")
    helm("rollback", "porchlight", "1", *where)
    running(namespace, "0.0.1")
    helm("rollback", "porchlight", "2", *where)
    running(namespace, chart)
    there = everything(namespace)
    keep = {key for key in there if key[0] in HOLD_DATA}
    # Helm leaves what hooks made.
    hooks = {key for key, each in there.items() if "helm.sh/hook" in each["metadata"].get("annotations", {})}
    check(("Pod", "porchlight-test") in hooks, "the test's pod is no hook")
    helm("uninstall", "porchlight", *where)
    left = ours | keep | hooks
    eventually(lambda: {key for key, each in everything(namespace).items()
                        if not each["metadata"].get("ownerReferences")} ^ left,
               f"{namespace}: after the uninstall, what is there and should not be, or the other way round")
    say(f"{namespace}: kept {', '.join(' '.join(each) for each in sorted(keep)) or 'nothing, for it made nothing that holds data'}")


def restricted(namespace):
    make({"apiVersion": "v1", "kind": "Namespace",
          "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})


def can_fail():
    """What is looked for above is found where it is."""
    namespace = "broken"
    restricted(namespace)
    say("a chart that runs as root is refused")
    try:
        helm("install", "porchlight", CHART, "--namespace", namespace, "--values", "helm/examples/small.yaml", "--wait", "--timeout",
             "10s", "--set", "migrate.enabled=false", "--set", "podSecurityContext.runAsNonRoot=false")
    except Wrong:
        pass
    else:
        raise Wrong("helm install --wait succeeded with pods that may run as root")
    eventually(lambda: not any('violates PodSecurity "restricted' in each and "runAsNonRoot" in each for each in refused(namespace)),
               "no event says that a pod was refused")
    check(not objects("pods", namespace), "a pod that may run as root was admitted")
    say("a pod that says nothing of tokens has one")
    make({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": namespace}, "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "plain", "image": "plain", "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}]}})
    check(has_token(objects("pods", namespace)[0]["spec"]), "the token of a pod that has one was not seen")


def main():
    say("custom resources")
    make(*map(definition, sorted(CRDS.glob("*.json"))))
    kubectl("wait", "--for", "condition=Established", "crd", "--all", "--timeout", f"{SECONDS}s")
    make({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "porchlight"}, "value": 1000})
    can_fail()
    for example in EXAMPLES:
        try:
            life(example)
        except Wrong as wrong:
            # What Helm waits for in vain it does not explain.
            raise Wrong("\n".join([str(wrong), *refused(pathlib.Path(example).stem)])) from None


# So that whoever is asked to end takes along what it runs.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    main()
except Wrong as wrong:
    say(wrong)
    sys.exit(1)
