"""What the chart made is kept when it is rendered again: `upgrade.py` plays an API server that has the Secrets of the first rendering."""

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from chart import HERE, NAMESPACE, RELEASE, documents, find, render

SECRETS = {"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "secrets", "kind": "Secret", "namespaced": True}]}


class Cluster:
    """As much of the Kubernetes API as `lookup` asks for: which kinds there are, and single Secrets."""

    def __init__(self, secrets):
        answers = {"/api/v1": SECRETS}
        for secret in secrets:
            answers[f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret['metadata']['name']}"] = secret
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                asked.append(path)
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

    def render(self, file):
        """Renders as an upgrade does, which asks the cluster."""
        return documents(render(file, options=("--is-upgrade", "--dry-run=server", "--kubeconfig", self.file.name)))


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
