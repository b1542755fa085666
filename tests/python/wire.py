"""Request ids, rich errors, callers and configuration: what every backend meets."""

import hashlib
import secrets

from client import Client
from world import expect, refused


def a_request_id_comes_back(w):
    _, trailers = w.client.call_with_trailers("AuthService.ListProviders", request_id="walk-7f3a")
    expect(trailers.get("x-request-id") == "walk-7f3a", trailers)
    _, trailers = w.client.call_with_trailers("AuthService.ListProviders")
    expect(trailers.get("x-request-id"), trailers)
    failure = w.client.fails("AuthService.Logout", {"refresh_token": "x"}, request_id="walk-7f3b")
    expect(failure.trailers.get("x-request-id") == failure.request_id == "walk-7f3b", failure, failure.trailers, failure.request_id)


def what_is_no_request_is_refused_with_a_reason(w):
    refused(w.client.raw("/countersign.v1.AuthService/NoSuchMethod", b""), "UNIMPLEMENTED", "METHOD_UNKNOWN")
    refused(w.client.raw("/countersign.v1.NoSuchService/Login", b""), "UNIMPLEMENTED", "METHOD_UNKNOWN")
    refused(w.client.raw("/countersign.v1.AuthService/Login", b"\x0a\xff"), "INVALID_ARGUMENT", "MESSAGE_MALFORMED")


def messages_are_limited_in_size(w):
    failure = w.client.fails("TokenService.VerifyToken", {"access_token": "x" * (300 << 10)})
    expect(failure.code in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED") and failure.reason == "MESSAGE_TOO_LARGE", failure)
    answer = w.client.call("TokenService.BatchVerifyTokens", {"access_tokens": ["x" * (300 << 10)]})
    expect(not answer["results"][0]["answer"]["active"], answer)
    entries = {f"e{index}": "v" for index in range(1001)}
    failure = w.resolve_fails(w.ann_tokens["access_token"], entries, "SINK_TEXT")
    refused(failure, "INVALID_ARGUMENT", "FIELDS_INVALID")


CALLERS = """callers:
  - name: reader
    token_sha256: ["{reader}"]
    permissions: ["token.verify", "auth.sign_in"]
  - name: backend
    token_sha256: ["{backend}"]
    permissions: ["auth.sign_in", "token.*"]
"""


def configured_callers_may_do_what_they_are_allowed(w):
    tokens = {name: w.secret(f"{name}'s token", "csc_" + secrets.token_urlsafe(32)) for name in ("reader", "backend")}
    other = w.new_service(start=False, COUNTERSIGN_CALLERS="callers.yaml")
    hashes = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()}
    (other.directory / "callers.yaml").write_text(CALLERS.format(**hashes))
    other.start(tokens["reader"])
    reader, backend = other.client, Client(other.address, tokens["backend"])
    nobody, stranger = Client(other.address), Client(other.address, "csc_" + secrets.token_urlsafe(32))
    # Whom reflection answers is not the point here: what the walk's own service said will do.
    for client in (reader, backend, nobody, stranger):
        client.pool = w.client.pool
    for client in (nobody, stranger):
        refused(client.fails("TokenService.VerifyToken", {"access_token": "x"}), "UNAUTHENTICATED", "CALLER_UNKNOWN")
    expect(not reader.call("TokenService.VerifyToken", {"access_token": "x"})["active"], "active")
    failure = refused(reader.fails("AuthService.ListUsers"), "PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
    expect(failure.metadata.get("permission") == "auth.read.any", failure)
    a_session_belongs_to_its_caller(w, reader, backend)
    for client in (backend, nobody, stranger):
        client.close()
    expect(other.stop() == 0, other.log()[-2000:])
    found = [name for name, token in tokens.items() if token in other.log()]
    expect(not found, "a caller's token is in the log", found)


def a_session_belongs_to_its_caller(w, reader, backend):
    password = w.new_password("eve")
    body = {"email": "eve@walk.example", "password": password, "client": w.connection()}
    backend.call("AuthService.Register", {**body, "name": "Eve Walker"})
    ours = w.keep(backend.call("AuthService.Login", body)["signed_in"]["tokens"])
    theirs = w.keep(reader.call("AuthService.Login", body)["signed_in"]["tokens"])
    failure = backend.fails("TokenService.RefreshSession", {"refresh_token": theirs["refresh_token"]})
    refused(failure, "UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    w.keep(backend.call("TokenService.RefreshSession", {"refresh_token": ours["refresh_token"]})["tokens"])


def all_mistakes_in_the_configuration_are_told_at_once(w):
    good = w.service.run("config", "check")
    expect(good.returncode == 0, good)
    bad = w.service.run("config", "check", LOGIN_MAX="a-bad-number", SESSION_EXPIRY="a-bad-time", DATABASE_URL="mongodb://a-bad-host/")
    said = bad.stdout + bad.stderr
    expect(bad.returncode != 0 and all(name in said for name in ("LOGIN_MAX", "SESSION_EXPIRY", "DATABASE_URL")), bad)
    expect("a-bad-" not in said, "a value is in the message", said)
    half = w.service.run("config", "check", OPENID_CLIENT_ID="")
    expect(half.returncode != 0 and "OPENID_CLIENT_ID" in half.stdout + half.stderr, half)


def without_callers_it_serves_on_loopback_only(w):
    other = w.new_service(start=False)
    said = other.refuses_to_start("0.0.0.0:0")
    expect("COUNTERSIGN_LISTEN" in said or "COUNTERSIGN_CALLERS" in said, said)


STEPS = [
    a_request_id_comes_back,
    what_is_no_request_is_refused_with_a_reason,
    messages_are_limited_in_size,
    configured_callers_may_do_what_they_are_allowed,
    all_mistakes_in_the_configuration_are_told_at_once,
    without_callers_it_serves_on_loopback_only,
]
