"""The Secrets and ConfigMaps that a set of values expects to exist already."""

import base64
import os
import secrets
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from chart import NAMESPACE, RELEASE

SPIFFE_ID = "spiffe://cluster.local/ns/chat/sa/backend"
SERVICE = f"{RELEASE}.{NAMESPACE}.svc.cluster.local"


def secret(name, **data):
    data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


def config_map(name, **data):
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@contextmanager
def database():
    """The URL of a database of its own, at the server that COUNTERSIGN_TEST_POSTGRES names."""
    server, name = os.environ["COUNTERSIGN_TEST_POSTGRES"], f"chart_{secrets.token_hex(8)}"
    run_sql(server, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def encryption_key():
    """A key for COUNTERSIGN_ENCRYPTION_KEYS."""
    return "a:" + base64.b64encode(secrets.token_bytes(32)).decode()


def run_sql(url, statement):
    subprocess.run(["psql", "--quiet", "--command", statement, url], check=True, capture_output=True)


class Authority:
    """A certificate authority with a certificate for the service and one for a caller."""

    def __init__(self):
        with tempfile.TemporaryDirectory() as directory:
            self.directory = Path(directory)
            self.openssl("req", "-x509", *self.new("ca"), "-subj", "/CN=authority", "-days", "2", "-out", "ca.crt")
            self.sign("server", f"DNS:{SERVICE},IP:127.0.0.1")
            self.sign("client", f"URI:{SPIFFE_ID}")
            for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
                setattr(self, name.replace(".", "_"), (self.directory / name).read_text())

    @staticmethod
    def new(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def sign(self, name, names):
        self.openssl("req", *self.new(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self.directory / "extensions").write_text(f"subjectAltName={names}\n")
        given = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        self.openssl("x509", "-req", "-in", f"{name}.csr", *given, "-out", f"{name}.crt")

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def certificate(self, name):
        """A Secret as cert-manager makes it."""
        return secret(name, **{"ca.crt": self.ca_crt, "tls.crt": self.server_crt, "tls.key": self.server_key})
