"""Runs a container of a rendered pod on this machine: its command, environment, user and files, with paths and ports replaced."""

import base64
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from chart import NAMESPACE

POD = "countersign-0"
# What Kubernetes sets in every container.
CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "HOSTNAME": POD}
# The fields of a pod that are known here.
FIELDS = {"metadata.name": POD, "metadata.namespace": NAMESPACE, "status.podIP": "127.0.0.1"}
WORKING_DIRECTORY = "/var/lib/countersign"
UNITS = {"": 1, "m": 0.001, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def quantity(text):
    """A quantity of Kubernetes, such as `250m` or `512Mi`, in cores or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * UNITS[unit]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Host:
    """A directory in place of the container's root, and the objects that volumes and variables name."""

    def __init__(self, fullname, docs, existing=(), keeps_paths=False):
        self.fullname = fullname
        self.objects = {(document["kind"], document["metadata"]["name"]): document for document in [*docs, *existing]}
        self.root = Path(tempfile.mkdtemp(prefix="countersign-chart-"))
        self.root.chmod(0o755)
        self.ports, self.keeps_paths = {}, keeps_paths

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, inside):
        return self.root / inside.lstrip("/")

    def port(self, number):
        return self.ports.setdefault(number, free_port())

    def content(self, kind, name):
        found = self.objects[kind, name]
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in found["data"].items()}
        return {key: value.encode() for key, value in found["data"].items()}

    def source(self, kind, name, items):
        content = self.content(kind, name)
        return {item["path"]: content[item["key"]] for item in items} if items else content

    def volume(self, volume):
        """The files of a volume, or None if it is empty and can be written to."""
        if "projected" in volume:
            files = {}
            for source in volume["projected"]["sources"]:
                ((kind, what),) = source.items()
                if kind == "serviceAccountToken":
                    # The kubelet makes it.
                    files |= {what["path"]: b"a-token-of-the-cluster"}
                    continue
                files |= self.source(kind[0].upper() + kind[1:], what["name"], what.get("items"))
            return files
        if "secret" in volume:
            return self.source("Secret", volume["secret"]["secretName"], volume["secret"].get("items"))
        if "configMap" in volume:
            return self.source("ConfigMap", volume["configMap"]["name"], volume["configMap"].get("items"))
        assert "emptyDir" in volume or "persistentVolumeClaim" in volume, f"the volume is not known here: {volume}"
        return None

    def mount(self, pod, container):
        """Lays out the files of a container's volumes, readable by its group alone, as the kubelet does."""
        user, group = (pod["securityContext"][name] for name in ("runAsUser", "fsGroup"))
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            directory = self.path(mount["mountPath"])
            directory.mkdir(parents=True, exist_ok=True)
            files = self.volume(volumes[mount["name"]])
            for name, content in (files or {}).items():
                file = directory / name
                file.write_bytes(content)
                file.chmod(0o440)
                own(file, 0, group)
            if files is None:
                own(directory, user, group)
        self.path(WORKING_DIRECTORY).mkdir(parents=True, exist_ok=True)

    def replaced(self, text, container):
        """A value with the host's paths, address and ports."""
        text = text.replace(f"{self.fullname}-ops:", "127.0.0.1:")
        for mount in container.get("volumeMounts", []) if not self.keeps_paths else []:
            text = text.replace(mount["mountPath"], str(self.path(mount["mountPath"])))
        for port in (50051, 50052, 9464):
            text = text.replace(f":{port}", f":{self.port(port)}")
        return text

    def environment(self, container):
        return CLUSTER | {entry["name"]: self.value(entry, container) for entry in container.get("env", [])}

    def value(self, entry, container):
        """The value of a variable, as the kubelet finds it."""
        if "valueFrom" not in entry:
            return self.replaced(entry.get("value", ""), container)
        ((source, wanted),) = entry["valueFrom"].items()
        if source in ("secretKeyRef", "configMapKeyRef"):
            kind = source[0].upper() + source[1:].removesuffix("KeyRef")
            return self.content(kind, wanted["name"])[wanted["key"]].decode()
        if source == "fieldRef" and wanted["fieldPath"] in FIELDS:
            return FIELDS[wanted["fieldPath"]]
        if source == "resourceFieldRef":
            bound, resource = wanted["resource"].split(".")
            amount = quantity(container["resources"][bound][resource]) / quantity(wanted.get("divisor", "1"))
            return str(math.ceil(amount))
        raise AssertionError(f"the value of {entry['name']} is not known here: {entry['valueFrom']}")


def own(path, user, group):
    if os.getuid() == 0:
        os.chown(path, user, group)


class Container:
    """One container of a pod with the release binary."""

    def __init__(self, host, pod, binary):
        self.host, self.pod, self.binary = host, pod, binary
        self.container = pod["containers"][0]
        host.mount(pod, self.container)
        self.log_file = host.root / "log"
        self.process = None

    def arguments(self):
        return [self.host.replaced(text, self.container) for text in self.container["args"]]

    def popen(self, arguments, **streams):
        """Starts the binary as the kubelet would."""
        binary = self.host.root / "countersign"
        if not binary.exists():
            shutil.copy(self.binary, binary)
        user = {}
        if os.getuid() == 0:
            context = self.pod["securityContext"]
            user = {"user": context["runAsUser"], "group": context["runAsGroup"], "extra_groups": [context["fsGroup"]]}
        directory, environment = self.host.path(WORKING_DIRECTORY), self.host.environment(self.container)
        return subprocess.Popen([binary, *arguments], cwd=directory, env=environment, stdin=subprocess.DEVNULL, **streams, **user)

    def run(self, *arguments):
        """A command to its end: the container's own, or another one in its environment."""
        arguments = arguments or self.arguments()
        process = self.popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{' '.join(arguments)}: {said}"
        return said

    def start(self):
        with open(self.log_file, "ab") as log:
            self.process = self.popen(self.arguments(), stdout=log, stderr=log)

    def stop(self):
        """SIGTERM, and as much time as the pod gives: the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.pod["terminationGracePeriodSeconds"])

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
