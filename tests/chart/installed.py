"""Runs what the chart renders, without a cluster: `installed.py [path of the binary]`.

For each set of values: the migration's job runs with nothing but what exists before an upgrade and what its hooks make. Then the
container's command, environment, user and files are run with the release binary, its probes are asked, and a caller calls it over what
the Service leads to. A value that does not reach the process is found so.
"""

import hashlib
import re
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from service import until  # before grpc itself: it sets how grpc behaves

import existing
import grpc
from chart import HERE, NAMESPACE, RELEASE, ROOT, before, documents, find, render
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pod import Container, Host

LIST_PROVIDERS = "/countersign.v1.AuthService/ListProviders"
NO_PROXY = ("grpc.enable_http_proxy", 0)


def probe(host, container, kind):
    """Asks a probe as the kubelet would: whether it succeeds."""
    wanted = container[kind]["grpc"]
    return serving(f"127.0.0.1:{host.port(wanted['port'])}", wanted["service"])


def serving(address, service):
    with grpc.insecure_channel(address, options=[NO_PROXY]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=1)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


class Caller:
    """A backend that proves itself by a token or by a certificate, over TLS or in a mesh."""

    def __init__(self, host, token=None, authority=None, key=None, certificate=None, name=None):
        self.address, self.token, self.tls = f"127.0.0.1:{host.port(50051)}", token, (authority, key, certificate)
        self.name = name or f"{host.fullname}.{NAMESPACE}.svc.cluster.local"

    def channel(self):
        if not self.tls[0]:
            return grpc.insecure_channel(self.address, options=[NO_PROXY])
        tls = [text and text.encode() for text in self.tls]
        options = [NO_PROXY, ("grpc.ssl_target_name_override", self.name)]
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(*tls), options=options)

    def list_providers(self, token):
        with self.channel() as channel:
            call = channel.unary_unary(LIST_PROVIDERS, request_serializer=bytes, response_deserializer=bytes)
            call(b"", metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=10)

    def check(self):
        """It may call, and a token that nobody has may not."""
        self.list_providers(self.token)
        try:
            self.list_providers("csc_unknown")
        except grpc.RpcError as refusal:
            assert refusal.code() == grpc.StatusCode.UNAUTHENTICATED, refusal
        else:
            raise AssertionError("an unknown token was accepted")


def generated(host, name=None):
    """The caller whose token the chart made, which calls the service by this name."""
    token = host.content("Secret", f"{host.fullname}-caller")["token"].decode()
    tls = ("Secret", f"{host.fullname}-tls") in host.objects
    return Caller(host, token, host.content("Secret", f"{host.fullname}-tls")["ca.crt"].decode() if tls else None, name=name)


def every_setting_is_read(container, extra):
    """What is rendered is a setting of this version, and `config check` found it."""
    said = container.run("config", "check")
    found = set(re.search(r"set in +environment: (.*)", said)[1].split(", "))
    # NODE_ENV is read only if an address is plain http.
    rendered = {entry["name"] for entry in container.container["env"]} - extra - {"NODE_ENV"}
    assert rendered <= found, f"the service does not read {rendered - found}"
    warnings = re.findall(r"warning +(.*)", said)
    assert not warnings, warnings


def migrate(host, docs, given, binary, kind):
    """Runs the jobs, each with as much of the new release as it finds in an upgrade."""
    for job in [document for document in docs if document["kind"] == "Job"]:
        cluster = Host(host.fullname, before(job, docs), given)
        try:
            kind(cluster, job["spec"]["template"]["spec"], binary).run()
        finally:
            cluster.remove()


def walk(values, binary, caller, given=(), extra=frozenset(), kind=Container, options=(), **host_options):
    """Runs one set of values; `given` exists already, and `extra` are variables that are no settings."""
    docs = documents(render(HERE / "values" / values, options=options))
    (deployment,) = [document for document in docs if document["kind"] == "Deployment"]
    fullname = deployment["metadata"]["name"]
    host = Host(fullname, docs, given, **host_options)
    container = kind(host, deployment["spec"]["template"]["spec"], binary)
    try:
        every_setting_is_read(container, extra)
        migrate(host, docs, given, binary, kind)
        container.start()
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            until(f"{values}: {name}", lambda name=name: probe(host, container.container, name))
        caller(host).check()
        kind(host, find(docs, "Pod", f"{fullname}-test")["spec"], binary).run()
        assert container.stop() == 0, "it did not end well"
        print(f"ok   {values}", flush=True)
    except Exception:
        print(container.log()[-4000:])
        raise
    finally:
        container.kill()
        host.remove()


def with_client_certificate(binary):
    authority = existing.Authority()
    given = [authority.certificate("countersign-certificate"), existing.secret("mesh-ca", **{"ca.crt": authority.ca_crt})]

    def caller(host):
        return Caller(host, None, authority.ca_crt, authority.client_key, authority.client_crt)

    walk("mtls.yaml", binary, caller, given)


def on_postgresql(binary):
    """Everything from Secrets that exist, with the migration's job before the start."""
    authority, token = existing.Authority(), "csc_" + secrets.token_urlsafe(32)
    callers = f"callers: [{{name: chat, token_sha256: [{hashlib.sha256(token.encode()).hexdigest()}], permissions: [auth.sign_in]}}]"
    with existing.database() as url:
        given = [
            existing.secret("countersign-database", url=url),
            existing.secret("countersign-keys", keys=existing.encryption_key()),
            existing.secret("openid", **{"client-secret": secrets.token_hex(16)}),
            existing.secret("database-ca", **{"ca.crt": authority.ca_crt}),
            existing.config_map("kube-root-ca.crt", **{"ca.crt": authority.ca_crt}),
            existing.config_map("countersign-callers", **{"callers.yaml": callers}),
            authority.certificate(f"{RELEASE}-tls"),
        ]
        walk("postgresql.yaml", binary, lambda host: Caller(host, token, authority.ca_crt), given)


def with_everything(binary):
    """With the chart's own Secret for the job's settings, and variables from where Kubernetes can take them."""
    with existing.database() as url:
        given = [
            existing.secret("librechat", CREDS_KEY=secrets.token_hex(32), gateway="a-gateway-key"),
            existing.config_map("cluster", region="eu-north"),
        ]
        extra = {"REGION", "GATEWAY_KEY", "POD_NAME", "CORES"}
        port = urlsplit(url).port
        options = ("--set-string", f"database.url={url}", "--set", f"networkPolicy.databasePort={port}")
        walk("everything.yaml", binary, lambda host: generated(host, "identity.example.com"), given, extra, options=options)


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/countersign"
    walk("default.yaml", binary, generated)
    walk("mesh.yaml", binary, generated, extra={"REGION"})
    with_client_certificate(binary)
    on_postgresql(binary)
    with_everything(binary)


if __name__ == "__main__":
    main()
