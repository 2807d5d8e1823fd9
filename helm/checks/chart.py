"""Holds the chart to the programs that it runs: chart.py PROGRAMS RENDERED

Each program reads the settings that each example renders, starts with them and is asked at the ports and paths that the
chart uses; metric names, alerts, runbooks, commands, topics and groups are compared with the sources that make them.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request

import yaml

PROGRAMS, RENDERED = map(pathlib.Path, sys.argv[1:3])
CHART = pathlib.Path("helm/porchlight")
CONFIG = "/etc/porchlight/config/porchlight.toml"
SERVICES = {"ingest": "ingest", "geoIndex": "geo-index", "notification": "notification", "gateway": "gateway"}
# Nobody listens there: a program that waits for its servers is all that is wanted.
NOBODY = "127.0.0.1:9"
# Put in place of what the examples say, so that nothing is asked of the network.
ELSEWHERE = {
    "KAFKA__BOOTSTRAP_SERVERS": NOBODY, "CQL__CONTACT_POINTS": f'["{NOBODY}"]', "S3__ENDPOINT": f"http://{NOBODY}",
    "AUTH__ISSUER": f"http://{NOBODY}", "AUTH__JWKS_URL": "", "S3__ACCESS_KEY_ID": "somebody", "LOG__FORMAT": "text",
}
# 32 bytes, and a valid point of the curve P-256.
KEY = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
wrong = []


def check(holds, sentence):
    if not holds:
        wrong.append(sentence)


def objects(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def named(of, kind, suffix):
    return next(each for each in of if each["kind"] == kind and each["metadata"]["name"].endswith(suffix))


def secrets(folder):
    """Files of the right form for every secret that a program may read."""
    folder.mkdir(parents=True)
    key, certificate = folder / "kafka-client.key", folder / "kafka-client.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=nobody", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    for name in ("kafka-ca.crt", "cql-ca.crt", "cql-client.crt", "s3-ca.crt"):
        shutil.copy(certificate, folder / name)
    shutil.copy(key, folder / "cql-client.key")
    for name in ("kafka-password", "cql-password", "s3-secret-access-key"):
        (folder / name).write_text("not a secret\n")
    for name in ("grant-key", "vapid-private-key"):
        (folder / name).write_text(KEY + "\n")


def clean_environment(more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PORCHLIGHT_")}
    return kept | {f"PORCHLIGHT_{k}": v for k, v in more.items()}


def get(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, ""


class Running:
    """A program with the settings that an example renders, on free ports of loopback."""

    def __init__(self, example, name, root, of):
        self.what = f"{example}: {name}"
        settings = named(of, "ConfigMap", f"-{name}")["data"]["porchlight.toml"]
        self.settings = tomllib.loads(settings)
        place = root / f"{example}-{name}"
        (place / "snapshot").mkdir(parents=True)
        file = place / "porchlight.toml"
        file.write_text(settings.replace("/etc/porchlight/secrets", str(root / "secrets")).replace("/var/lib/porchlight", str(place / "snapshot")))
        pod = named(of, "Deployment", f"-{name}")["spec"]["template"]["spec"]
        self.container = pod["containers"][0]
        checksum = named(of, "Deployment", f"-{name}")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        check(checksum == hashlib.sha256(settings.strip().encode()).hexdigest(), f"{self.what}: new settings would not replace the pods")
        self.grace = pod["terminationGracePeriodSeconds"]
        own = {v["name"].removeprefix("PORCHLIGHT_"): v["value"] for v in self.container.get("env", []) if "value" in v}
        self.address = place / "admin"
        listen = {"ADMIN__LISTEN": "127.0.0.1:0", "ADMIN__ADDRESS_FILE": str(self.address), "HTTP__LISTEN": "127.0.0.1:0"}
        self.said = open(place / "said", "w+")
        self.file, self.own = file, own
        program = PROGRAMS / self.container["command"][0].lstrip("/")
        self.process = subprocess.Popen([program, self.container["args"][0], file], stdout=self.said, stderr=self.said,
                                        env=clean_environment(own | ELSEWHERE | listen))

    def look(self, metrics):
        """Asks what kubelet and Prometheus ask."""
        until = time.monotonic() + 60
        while not (self.address.exists() and self.address.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > until:
                self.said.seek(0)
                check(False, f"{self.what} does not start: {self.said.read().strip()[-600:]}")
                return
            time.sleep(0.02)
        address = self.address.read_text().strip()
        for probe in ("startupProbe", "livenessProbe"):
            status, _ = get(address, self.container[probe]["httpGet"]["path"])
            check(status == 200, f"{self.what}: {probe} gets {status}")
        status, _ = get(address, self.container["readinessProbe"]["httpGet"]["path"])
        check(status in (200, 503), f"{self.what}: readinessProbe gets {status}")
        status, text = get(address, "/metrics")
        check(status == 200, f"{self.what}: /metrics gets {status}")
        metrics.update(line.split()[2] for line in text.splitlines() if line.startswith("# TYPE porchlight_"))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def ended(self):
        try:
            self.process.wait(timeout=self.grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            check(False, f"{self.what} outlives its grace period of {self.grace} s")
        self.said.close()

    def ports(self, of, defaults):
        """The ports of the container are those that the program listens on, and its own by default."""
        for name in [port["name"] for port in self.container["ports"]]:
            port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == name)
            for which, settings in (("as rendered", self.settings), ("by default", defaults)):
                listens = int(settings[name]["listen"].rpartition(":")[2])
                check(listens == port, f"{self.what}: port {name} is {port} in the pod, the program listens on {listens} {which}")
        check(("http" in self.settings) == ("http" in defaults), f"{self.what}: has the program an API?")
        probes = [self.container[p]["httpGet"]["port"] for p in ("startupProbe", "livenessProbe", "readinessProbe")]
        check(set(probes) == {"admin"}, f"{self.what}: probes ask {probes}")


def ask(example, args, own):
    """Runs the command line as a job or a test would. 1: it could not reach its servers. 64: a word or a setting is wrong."""
    quick = {"CQL__REQUEST_TIMEOUT_MS": "300", "KAFKA__MESSAGE_TIMEOUT_MS": "300", "KAFKA__PRODUCE_WAIT_MS": "400"}
    told = subprocess.Popen([PROGRAMS / "porchlight", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=clean_environment(own | ELSEWHERE | quick))
    asked.append((f"{example}: {' '.join(args)}", told))


def settings_hold(root, metrics):
    """Every example's settings are read by the programs themselves, which then answer as the chart expects."""
    secrets(root / "secrets")
    for path in sorted(RENDERED.glob("*.yaml")):
        of = objects(path)
        running = [Running(path.stem, name, root, of) for name in SERVICES.values()]
        migration = [job for job in of if job["kind"] == "Job"]
        commands = [c for job in migration for k in ("initContainers", "containers") for c in job["spec"]["template"]["spec"][k]]
        try:
            for service, name in zip(running, SERVICES.values()):
                program = PROGRAMS / f"porchlight-{name}"
                defaults = subprocess.run([program, "--print-default-config"], check=True, capture_output=True, text=True).stdout
                service.ports(of, tomllib.loads(defaults))
                service.look(metrics)
            for container in commands:
                own = {v["name"].removeprefix("PORCHLIGHT_"): v["value"] for v in container["env"]}
                own = {k: v.replace("/etc/porchlight/secrets", str(root / "secrets")) for k, v in own.items()}
                ask(path.stem, container["args"], own)
            gateway = running[-1]
            for pod in [each for each in of if each["kind"] == "Pod"]:
                args = pod["spec"]["containers"][0]["args"]
                ask(path.stem, [str(gateway.file) if word == CONFIG else word for word in args], gateway.own)
        finally:
            for service in running:
                service.stop()
        ending.extend(running)


def budgets_hold():
    """The chart's budgets are the programs' defaults, so that what is not set means the same at both."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    keys = {
        "messageTimeoutMs": "kafka.message_timeout_ms", "produceWaitMs": "kafka.produce_wait_ms", "kafkaDrainMs": "kafka.drain_ms",
        "maxPollIntervalMs": "kafka.max_poll_interval_ms", "cqlTimeoutMs": "cql.request_timeout_ms", "s3TimeoutMs": "s3.timeout_ms",
        "pushTimeoutMs": "push.timeout_ms", "requestTimeoutMs": "http.request_timeout_ms", "drainMs": "lifecycle.drain_ms",
    }
    for service, name in SERVICES.items():
        defaults = tomllib.loads(pathlib.Path(f"services/{name}/default.toml").read_text())
        for budget, value in values[service]["budgets"].items():
            section, key = keys[budget].split(".")
            check(defaults[section][key] == value, f"{service}.budgets.{budget} is {value}, {keys[budget]} of {name} is {defaults[section][key]}")


def consumers_hold():
    """KEDA and the users' rights name the groups and topics that the sources name."""
    facts = yaml.safe_load(re.search(r'define "porchlight.services" -}}\n(.*?){{- end', (CHART / "templates/_services.tpl").read_text(), re.S)[1])
    topics = dict(re.findall(r'Self::(\w+) => "([a-z-]+\.v\d+)"', pathlib.Path("libs/bus/src/topic.rs").read_text()))
    for service, name in SERVICES.items():
        code = "".join(path.read_text() for path in pathlib.Path(f"services/{name}/src").rglob("*.rs"))
        groups = {(group, topics[topic]) for group, topic in re.findall(r'Consumer::new\(&[\w.]+, "([^"]+)", &\[Topic::(\w+)\]', code)}
        told = {(group["name"], group["topic"]) for group in facts[service]["groups"]}
        check(groups == told, f"groups of {name}: {groups} in the program, {told} in the chart")
        known = {topics[topic] for topic in re.findall(r"Topic::(\w+)", code) if topic in topics}
        allowed = set(facts[service]["topics"]["read"] + facts[service]["topics"]["write"])
        check(known <= allowed, f"{name} names the topics {known - allowed}, which the chart gives it no right to")


def metrics_hold(seen):
    """Every metric that rules, dashboards and runbooks name is one of the programs'."""
    sources = [*pathlib.Path("libs").glob("*/src/metrics.rs"), *pathlib.Path("services").glob("*/src/metrics.rs")]
    known = {name for path in sources for name in re.findall(r'pub const \w+: &str =\s*"(porchlight_\w+)"', path.read_text())}
    check(seen <= known, f"metrics that no list of the sources has: {sorted(seen - known)}")
    users = [*CHART.glob("files/**/*.*"), *pathlib.Path("docs/runbooks").glob("*.md"), pathlib.Path("helm/checks/rules_test.yaml")]
    for path in users:
        for name in set(re.findall(r"\bporchlight_\w+", path.read_text())):
            check({name, re.sub(r"_(bucket|sum|count)$", "", name)} & known, f"{path}: no program has the metric {name}")


def alerts_hold():
    """Every alert is tested and has its page, every page its alert, and each page the four answers."""
    groups = yaml.safe_load((CHART / "files/rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    tested = {case["alertname"] for test in yaml.safe_load(pathlib.Path("helm/checks/rules_test.yaml").read_text())["tests"]
              for case in test.get("alert_rule_test", []) if case.get("exp_alerts")}
    pages = {path.stem: path.read_text() for path in pathlib.Path("docs/runbooks").glob("*.md") if path.stem != "README"}
    for rule in rules:
        page = rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/").removesuffix(".md")
        check(rule["labels"]["severity"] in ("page", "ticket"), f"{rule['alert']}: severity is page or ticket")
        check(f"`{rule['alert']}`" in pages.get(page, ""), f"docs/runbooks/{page}.md does not name {rule['alert']}")
        check(rule["alert"] in tested, f"helm/checks/rules_test.yaml never makes {rule['alert']} fire")
    for page, text in pages.items():
        check(f"RUNBOOKS/{page}.md" in str(rules), f"no alert names docs/runbooks/{page}.md")
        for heading in ("## What it means", "## How to see it", "## What to do", "## How to know that it is over"):
            check(heading in text, f"docs/runbooks/{page}.md: {heading}")


def queries_hold(root):
    """What dashboards and runbooks ask is PromQL."""
    queries = []
    for path in CHART.glob("files/dashboards/*.json"):
        queries += [t["expr"] for panel in json.loads(path.read_text())["panels"] for t in panel.get("targets", [])]
    for path in pathlib.Path("docs/runbooks").glob("*.md"):
        for block in re.findall(r"```\n(.*?)```", path.read_text(), re.S):
            queries += [line for line in block.splitlines() if re.match(r"(sum|max|topk|time|rate|increase|histogram_quantile)\b", line)]
    queries = [query.replace("$namespace", "a").replace("$__range", "1h") for query in queries]
    rules = root / "asked.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": [{"record": f"asked:{n}", "expr": q} for n, q in enumerate(queries)]}]}))
    told = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    check(told.returncode == 0 and len(queries) > 60, f"queries of dashboards and runbooks: {told.stdout}{told.stderr}")


def commands_hold():
    """The command line knows what texts tell people to type, commands and options."""
    texts = [*pathlib.Path("docs/runbooks").glob("*.md"), pathlib.Path("docs/OPERATIONS.md"), CHART / "README.md", CHART / "values.yaml",
             CHART / "templates/NOTES.txt"]
    typed = {}
    for path in texts:
        # A command in a text goes on in its next line.
        for words, rest in re.findall(r"(?:`|^ *|\()porchlight ((?:[a-z]+-)?[a-z]+(?:\s+[a-z]+)?)(?=[`\s)])([^`\n]*)", path.read_text(), re.M):
            typed.setdefault(tuple(words.split()), set()).update(re.findall(r"--[a-z][a-z-]*", rest))
    typed.pop(("config", "ingest"), None)
    for asked, options in sorted(typed.items()):
        told = subprocess.run([PROGRAMS / "porchlight", *asked, "--help"], capture_output=True, text=True)
        check(told.returncode == 0, f"`porchlight {' '.join(asked)}` is no command: {told.stderr.strip()}")
        for option in options:
            check(f"{option} " in told.stdout or f"{option}\n" in told.stdout, f"`porchlight {' '.join(asked)}` has no option {option}")
    check(len(typed) > 12, f"commands in texts: {sorted(typed)}")


def schema_holds():
    """The schema knows every key of the values, no other, and refuses the rest."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def resolved(node):
        return schema["$defs"][node["$ref"].removeprefix("#/$defs/")] if "$ref" in node else node

    def compare(node, values, at):
        node = resolved(node)
        if "properties" not in node:
            return
        check(node.get("additionalProperties") is False, f"values.schema.json lets unknown keys pass at {at or 'the top'}")
        keys = {key for key, sub in node["properties"].items() if not resolved(sub).get("deprecated")} - {"global"}
        if isinstance(values, dict) and not (values == {} and at.endswith("perProgram")):
            check(keys - {"requests", "limits"} <= set(values) and set(values) <= keys,
                  f"at {at or 'the top'}: values.yaml and its schema differ in {sorted(keys ^ set(values))}")
        for key in keys:
            compare(node["properties"][key], (values or {}).get(key), f"{at}.{key}".lstrip("."))

    compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


def nothing_secret_is_rendered():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    check("password" not in {str(v) for v in values["kafka"]["auth"].values()} - {values["kafka"]["auth"]["passwordKey"]}, "a default password")
    for path in RENDERED.glob("*.yaml"):
        for each in objects(path):
            check(each["kind"] != "Secret", f"{path.stem}: renders the Secret {each['metadata']['name']}")
            text = json.dumps(each)
            for word in ("secret_access_key ", "grant_key ", "vapid_private_key ", "password "):
                check(f"{word}=" not in text, f"{path.stem}: {each['kind']} {each['metadata']['name']} holds {word.strip()}")
            for name in re.findall(r'"name": "(PORCHLIGHT_\w*(?:PASSWORD|SECRET_ACCESS_KEY|GRANT_KEY|PRIVATE_KEY|ACCESS_KEY_ID))", "value"', text):
                check(False, f"{path.stem}: {each['kind']} {each['metadata']['name']} gives {name} in the open")


ending, asked = [], []
with tempfile.TemporaryDirectory() as folder:
    seen = set()
    try:
        settings_hold(pathlib.Path(folder), seen)
        queries_hold(pathlib.Path(folder))
        for what, told in asked:
            said, _ = told.communicate(timeout=120)
            check(told.returncode == 1, f"{what} ends with {told.returncode}: {said.strip()[-400:]}")
    finally:
        for service in ending:
            service.ended()
    metrics_hold(seen)
budgets_hold()
consumers_hold()
alerts_hold()
commands_hold()
schema_holds()
nothing_secret_is_rendered()
print("\n".join(wrong))
sys.exit(bool(wrong))
