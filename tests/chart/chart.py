"""Renders the chart, and takes what is random out of what was rendered."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm"
HERE = Path(__file__).resolve().parent
RELEASE, NAMESPACE = "countersign", "identity"
HELM = os.environ.get("HELM", "helm")
# A Helm that was built from source does not know the version of Kubernetes that it is made for.
KUBERNETES = ("--kube-version", "1.34.0")
RANDOM = {"token", "keys", "tls.crt", "tls.key", "ca.crt"}


class Refused(Exception):
    """Helm refuses the values; the text is its message."""


def run(*arguments):
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(*files, options=(), chart=CHART):
    """The rendered text; hooks and tests are in it too."""
    values = [part for file in files for part in ("--values", str(file))]
    return run("template", RELEASE, str(chart), "--namespace", NAMESPACE, *KUBERNETES, *values, *options)


def notes(file):
    """What an installation tells at its end. Helm renders it for a cluster alone, so it becomes an object of a copy of the chart."""
    with tempfile.TemporaryDirectory() as directory:
        copy = shutil.copytree(CHART, Path(directory) / "chart")
        shutil.move(copy / "templates/NOTES.txt", copy / "NOTES.txt")
        (copy / "templates/notes.yaml").write_text('text: |\n  {{- tpl (.Files.Get "NOTES.txt") . | nindent 2 }}\n')
        return yaml.safe_load(render(file, options=("--show-only", "templates/notes.yaml"), chart=copy))["text"]


def render_values(values, options=()):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return render(file.name, options=options)


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def find(docs, kind, name):
    (found,) = [document for document in docs if document["kind"] == kind and document["metadata"]["name"] == name]
    return found


def without_random(text):
    """The same text at each rendering. What the chart makes is checked on the way: the callers' file has the token's SHA-256."""
    for document in documents(text):
        if document["kind"] != "Secret":
            continue
        name, data = document["metadata"]["name"], document["data"]
        for key in RANDOM & set(data):
            text = text.replace(data[key], "(generated)")
        if name.endswith("-caller"):
            digest = hashlib.sha256(base64.b64decode(data["token"])).hexdigest()
            assert digest in text, "the callers' file has not the SHA-256 of the token"
            text = text.replace(digest, "(generated)")
    return text


def without_files(text):
    """The same text without the alerts and the dashboard, which are files of the chart."""
    text = re.sub(r"(\nkind: PrometheusRule\n.*?\nspec:\n)  groups:\n.*?(?=\n---\n|\Z)", r"\1  (rules/countersign.yaml)", text, flags=re.S)
    content = (CHART / "dashboards/countersign.json").read_text()
    indented = "\n".join(" " * 4 + line for line in content.removesuffix("\n").split("\n"))
    return text.replace(indented, " " * 4 + "(dashboards/countersign.json)")


def annotation(document, name):
    return document["metadata"].get("annotations", {}).get(f"helm.sh/{name}", "")


def weight(hook):
    return int(annotation(hook, "hook-weight") or 0)


def before(job, docs):
    """What an upgrade makes before this hook, which is all of the new release that the hook finds."""
    hooks = [document for document in docs if annotation(job, "hook") in annotation(document, "hook").split(",")]
    return [hook for hook in hooks if weight(hook) < weight(job)]


def pod_specs(docs):
    """The pods of all workloads, with their names."""
    for document in docs:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            yield f"Pod {document['metadata']['name']}", spec
        elif "template" in spec:
            yield f"{document['kind']} {document['metadata']['name']}", spec["template"]["spec"]
