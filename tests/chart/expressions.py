"""Evaluates the dashboard and the alerts: `expressions.py [path of the binary]`.

A real Prometheus reads the metrics of the release binary while the Python client goes through the main job with it. Then every
expression of the dashboard has to return data, and every alert has to be evaluated without an error, on metrics that exist.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import accounts
import existing
import federated
import moderation
import provider_tokens
import sessions
import yaml
from chart import CHART, ROOT
from provider import Provider
from service import Service, free_port, until
from world import World

RULES, DASHBOARD = CHART / "rules/countersign.yaml", CHART / "dashboards/countersign.json"
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1m", "$job": ".*", "$instance": ".*"}
PARTS = (accounts, sessions, federated, provider_tokens, moderation)
USERS = {"impostor": {"email": "ann@walk.example"}}
NAME = re.compile(r"\b(?:countersign|rpc_server|process)_[a-z_]+\b")
# A label with the values that it has to have, other than patterns.
MATCHER = re.compile(r'(\w+)=~?"([A-Za-z_|]+)"')
# A status code is shown once a call ends with it.
LATER = {"rpc_response_status_code"}


class Prometheus:
    """A Prometheus that reads its targets every second."""

    def __init__(self, *targets):
        self.directory = tempfile.TemporaryDirectory(prefix="countersign-prometheus-")
        directory, self.address = Path(self.directory.name), f"127.0.0.1:{free_port()}"
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "countersign", "static_configs": [{"targets": list(targets)}]}],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self.log = open(directory / "log", "w+")
        files = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        command = ["prometheus", *files, f"--web.listen-address={self.address}"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def get(self, path, **query):
        with urllib.request.urlopen(f"http://{self.address}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        return self.get("/api/v1/query", query=expression)["result"]

    def reads(self, count):
        """Whether it reads so many targets."""
        try:
            return len(self.query("up == 1")) == count
        except OSError:
            return False

    def last_reading(self):
        """Since when it has read all targets, in Unix seconds."""
        return float(self.query("min(timestamp(up))")[0]["value"][1])

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        self.directory.cleanup()


def dashboard_expressions():
    """Every expression with its panel's title; variables are replaced."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for row in dashboard["panels"] for panel in [row, *row.get("panels", [])]]
    for panel in panels:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield panel["title"], expression


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def use(service, provider):
    """The main job, as a load with something of everything."""
    world = World(service, provider)
    for part in PARTS:
        for step in part.STEPS:
            step(world)
    for other in world.others:
        other.kill()
        other.remove()


def check_metrics(address):
    """promtool's own rules for names, types and help texts."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def evaluate(prometheus):
    faults = []
    for title, expression in dashboard_expressions():
        values = [point["value"][1] for point in prometheus.query(expression)]
        if not set(values) - {"NaN"}:
            faults.append(f"{title}: no data for {expression}")
    names = set(prometheus.get("/api/v1/label/__name__/values"))
    for rule in alerts():
        missing = set(NAME.findall(rule["expr"])) - names
        faults.extend(f"{rule['alert']}: there is no metric {name}" for name in sorted(missing))
        wanted = [(label, value) for label, values in MATCHER.findall(rule["expr"]) for value in values.split("|") if label not in LATER]
        unknown = [matcher for matcher in wanted if not prometheus.query('{%s="%s"}' % matcher)]
        faults.extend(f"{rule['alert']}: no metric has {label}={value}" for label, value in unknown)
    for group in prometheus.get("/api/v1/rules")["groups"]:
        faults.extend(f"{rule['name']}: {rule.get('lastError')}" for rule in group["rules"] if rule["health"] != "ok")
    assert not faults, "\n".join(faults)


def with_tls(binary, ops):
    """A service with a certificate, which has metrics of its own. Nobody calls it."""
    authority = existing.Authority()
    service = Service(binary, COUNTERSIGN_OPS_LISTEN=ops)
    for name in ("crt", "key"):
        (service.directory / f"tls.{name}").write_text(getattr(authority, f"server_{name}"))
    service.environment |= {"COUNTERSIGN_TLS_CERT": "tls.crt", "COUNTERSIGN_TLS_KEY": "tls.key"}
    service.spawn(f"127.0.0.1:{free_port()}")
    return service


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/countersign"
    subprocess.run(["promtool", "check", "rules", RULES], check=True, stdout=subprocess.DEVNULL)
    ops, ops_of_tls = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        provider = Provider(log, users=USERS)
        templates = {"COUNTERSIGN_TEMPLATE_ENV": "WALK_REGION", "WALK_REGION": "eu-north"}
        service = Service(binary, **provider.environment(), **templates, COUNTERSIGN_OPS_LISTEN=ops)
        services = [service, with_tls(binary, ops_of_tls)]
        prometheus = Prometheus(ops, ops_of_tls)
        try:
            service.start()
            until("Prometheus reads the metrics", lambda: prometheus.reads(2), seconds=30)
            use(service, provider)
            check_metrics(ops)
            used = time.time()
            until("a reading after the last call", lambda: prometheus.last_reading() > used)
            evaluate(prometheus)
        finally:
            prometheus.close()
            for started in services:
                started.kill()
                started.remove()
            provider.close()
    print(f"{len(list(dashboard_expressions()))} expressions of the dashboard return data, {len(alerts())} alerts are evaluated")


if __name__ == "__main__":
    main()
