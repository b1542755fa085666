"""What an upgrade keeps and what its migration finds: `upgrade.py` plays an API server that has the Secrets of the first rendering."""

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from chart import HERE, NAMESPACE, RELEASE, before, documents, find, render, render_values

SECRETS = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "secrets", "kind": "Secret", "namespaced": True}]}


class Cluster:
    """As much of the Kubernetes API as `lookup` asks for: which kinds there are, and single Secrets."""

    def __init__(self, secrets):
        answers = {"/api/v1": SECRETS}
        for secret in secrets:
            answers[f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret['metadata']['name']}"] = secret

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                found = answers.get(path)
                absent = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                body = json.dumps(found or absent).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        user = {"name": "c", "user": {}}
        settings = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        settings |= {"clusters": [cluster], "contexts": [context], "users": [user]}
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        yaml.safe_dump(settings, self.file)
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.file.close()

    def render(self, values):
        """Renders as an upgrade does, which asks the cluster; takes values or their file."""
        options = ("--is-upgrade", "--dry-run=server", "--kubeconfig", self.file.name)
        return documents(render(values, options=options) if isinstance(values, Path) else render_values(values, options))


def secrets(docs):
    return {document["metadata"]["name"]: document["data"] for document in docs if document["kind"] == "Secret"}


def callers(docs):
    return find(docs, "ConfigMap", RELEASE)["data"]["callers.yaml"]


def kept():
    """The number of Secrets that an upgrade keeps as they were."""
    file = Path(HERE / "values/default.yaml")
    with Cluster([]) as empty:
        first, other = empty.render(file), empty.render(file)
    made = [document for document in first if document["kind"] == "Secret"]
    assert len(made) == 3 and secrets(first) != secrets(other), "nothing is made anew in an empty cluster"
    with Cluster(made) as cluster:
        again = cluster.render(file)
    assert secrets(again) == secrets(first), "an upgrade changes what the chart has made"
    assert callers(again) == callers(first), "an upgrade changes the callers' file"
    return len(made)


def on_postgresql(url, **values):
    return {"database": {"engine": "postgresql", "url": url}, "migration": {"mode": "job"}, **values}


def migrated():
    """The number of objects that an upgrade makes before the migration's job, which needs no others and finds the new values in them."""
    values = on_postgresql("postgres://db.example.com/new", secretConfig={"COUNTERSIGN_BOOTSTRAP_TOKEN": {"value": "new"}})
    with Cluster([]) as empty:
        first = empty.render(on_postgresql("postgres://db.example.com/old", tls={"source": "mesh"}, serviceAccount={"create": False}))
    with Cluster([document for document in first if document["kind"] == "Secret"]) as cluster:
        again = cluster.render(values)
    job, name = find(again, "Job", f"{RELEASE}-migration"), f"{RELEASE}-migration"
    made, pod = before(job, again), job["spec"]["template"]
    data = find(made, "Secret", name)["data"]
    assert data == secrets(again)[RELEASE] | secrets(again)[f"{RELEASE}-keys"], "the job does not get the values of the upgrade"
    assert secrets(first)[f"{RELEASE}-keys"].items() <= data.items(), "the job gets another key than the processes"
    sources = [source for volume in pod["spec"]["volumes"] for source in volume["projected"]["sources"]]
    assert {source["secret"]["name"] for source in sources} == {name}, f"the job mounts what may not exist yet: {sources}"
    assert pod["spec"]["serviceAccountName"] == "default", "the job's account may not exist yet"
    selected = find(made, "NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items(), "the job's policy does not select it"
    return len(made)
