"""Evaluates the dashboard and the alerts: `expressions.py [path of the binary]`.

A real Prometheus reads the metrics of the release binary on SQLite, on PostgreSQL and with TLS, while backends use the first two all at
once (load.py), PostgreSQL is locked and away for some seconds, and nobody takes traces and log lines. Then every expression of the
dashboard has to return data and, at some moment of the load, more than zero; those about the database have to on PostgreSQL alone, too.
Every alert has to be evaluated without an error, on metrics that exist.
"""

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import existing
import load
import yaml
from chart import CHART, ROOT
from provider import Provider
from service import Service, free_port, until

RULES, DASHBOARD = CHART / "rules/countersign.yaml", CHART / "dashboards/countersign.json"
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$__range": "1m", "$job": ".*"}
# Panels that may show zero throughout, and why.
MAY_BE_ZERO = {
    "Uses of sessions written": "they are written once a minute, and the load is shorter",
    "Restarts of tasks": "a task is restarted only if it panics",
    "Calls beyond a caller's limits": "the load has no callers' file, so its caller has no limits",
    "Refused JWTs of callers": "the load has no callers' file",
    "Keys of callers' issuers": "the load has no callers' file",
}
ABOUT_THE_DATABASE = "Database"
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

    def most(self, expression, seconds):
        """The highest value that it had within so many seconds, in each series."""
        return [float(point["value"][1]) for point in self.query(f"max_over_time(({expression})[{seconds}s:1s])")]

    def last_reading(self):
        """Since when it has read all targets, in Unix seconds."""
        return float(self.query("min(timestamp(up))")[0]["value"][1])

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        self.directory.cleanup()


def dashboard_expressions(instance=".*"):
    """Every expression with the titles of its row and panel; variables are replaced."""
    row = None
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in {**VARIABLES, "$instance": instance}.items():
                expression = expression.replace(variable, value)
            yield row, panel["title"], expression


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def use(services, provider, url, silent):
    """Backends use the services at once; meanwhile PostgreSQL is locked and away, and somebody connects to `silent` and says nothing."""
    loads = [load.Load(service, provider) for service in services]
    connections = [socket.create_connection(silent) for _ in range(3)]
    ends = time.monotonic() + load.SECONDS
    try:
        time.sleep(5)
        load.begin_new_epoch(url)
        load.lock(url, loads[1].world, 4)
        time.sleep(3)
        load.cut_off(url, 3)
        time.sleep(max(0, ends - time.monotonic()))
    finally:
        for each in loads:
            each.end()
        for connection in connections:
            connection.close()
    for each in loads:
        each.check()


def check_metrics(address):
    """promtool's own rules for names, types and help texts."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def panels(prometheus, seconds, on_postgresql):
    """The faults of the dashboard: expressions without data, or with nothing but zero."""
    own = [(title, expression) for row, title, expression in dashboard_expressions(on_postgresql) if row == ABOUT_THE_DATABASE]
    assert own, f"the dashboard has no row {ABOUT_THE_DATABASE}"
    for title, expression in [panel[1:] for panel in dashboard_expressions()] + own:
        if not {point["value"][1] for point in prometheus.query(expression)} - {"NaN"}:
            yield f"{title}: no data for {expression}"
        elif title not in MAY_BE_ZERO and not any(value > 0 for value in prometheus.most(expression, seconds)):
            yield f"{title}: nothing but zero for {expression}"


def evaluate(prometheus, seconds, on_postgresql):
    faults = list(panels(prometheus, seconds, on_postgresql))
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
    """A service with a certificate, whose log finds no room. Nobody calls it."""
    authority = existing.Authority()
    service = Service(binary, COUNTERSIGN_OPS_LISTEN=ops, COUNTERSIGN_LOG="trace")
    for name in ("crt", "key"):
        (service.directory / f"tls.{name}").write_text(getattr(authority, f"server_{name}"))
    service.environment |= {"COUNTERSIGN_TLS_CERT": "tls.crt", "COUNTERSIGN_TLS_KEY": "tls.key"}
    service.log_file = Path("/dev/full")
    service.spawn(f"127.0.0.1:{free_port()}")
    return service


def on_sqlite(binary, ops, provider):
    return Service(binary, **provider.environment(), COUNTERSIGN_OPS_LISTEN=ops)


def on_postgresql(binary, ops, provider, url):
    """A service on PostgreSQL, whose collector of traces is not there."""
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "500"}
    database = {"DATABASE_URL": url, "COUNTERSIGN_ENCRYPTION_KEYS": existing.encryption_key()}
    return Service(binary, **provider.environment(), **database, **traces, COUNTERSIGN_OPS_LISTEN=ops)


def observe(binary, url, log):
    """Starts everything, uses it, and evaluates what Prometheus saw."""
    provider = Provider(log, access_token_ttl=load.ENDING)
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    used = [on_sqlite(binary, addresses[0], provider), on_postgresql(binary, addresses[1], provider, url)]
    services = [*used, with_tls(binary, addresses[2])]
    prometheus = Prometheus(*addresses)
    try:
        for service in used:
            service.start()
        until("Prometheus reads the metrics", lambda: prometheus.reads(3), seconds=30)
        began = time.time()
        host, port = used[0].address.split(":")
        use(used, provider, url, (host, int(port)))
        for address in addresses:
            check_metrics(address)
        ended = time.time()
        until("a reading after the last call", lambda: prometheus.last_reading() > ended)
        evaluate(prometheus, int(time.time() - began), addresses[1])
    finally:
        prometheus.close()
        for service in services:
            service.kill()
            service.remove()
        provider.close()


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/countersign"
    subprocess.run(["promtool", "check", "rules", RULES], check=True, stdout=subprocess.DEVNULL)
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log, existing.database() as url:
        observe(binary, url, log)
    print(f"{len(list(dashboard_expressions()))} expressions of the dashboard show more than zero, {len(alerts())} alerts are evaluated")


if __name__ == "__main__":
    main()
