"""Backends that use a service all at once, with something of everything: load for the dashboard."""

import itertools
import os
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from urllib.parse import urlsplit

from client import Failure
from existing import run_sql
from google.protobuf import json_format
from world import World

SECONDS = 24
# More sign-ins at once than find a place in the queue for passwords.
BURST = 100
# With less than 30 seconds left a provider's token counts as expired, so each use renews it.
ENDING = 20
BEARER = "Bearer {{LIBRECHAT_OPENID_TOKEN}}"
# What calls may fail with while the service has too much to do or its database is away.
TROUBLE = {"BUSY", "STORE_UNAVAILABLE", "PROVIDER_UNAVAILABLE", "CURSOR_EXPIRED"}


def attempt(w, method, body):
    """A call that may be refused."""
    try:
        w.client.call(method, body)
    except Failure:
        pass


def local_users(w, name):
    """Registration, sign-in, sessions and their tokens, spent and wrong ones too."""
    password = w.new_password(name)
    w.register(name, password)
    first = w.login(name, password)["tokens"]
    for token in [first["access_token"]] * 5 + ["x"]:
        w.verify(token)
    w.client.call("TokenService.BatchVerifyTokens", {"access_tokens": [first["access_token"], "x"]})
    proof = {"subject": {"access_token": first["access_token"]}, "client": w.connection()}
    attempt(w, "AuthService.Reauthenticate", {**proof, "password": "not-the-password-1"})
    again = w.login(name, password)["tokens"]
    proof["subject"] = {"access_token": again["access_token"]}
    w.keep(w.client.call("AuthService.Reauthenticate", {**proof, "password": password})["tokens"])
    third = w.refresh(w.refresh(first["refresh_token"])["refresh_token"])
    attempt(w, "TokenService.RefreshSession", {"refresh_token": first["refresh_token"], "client": w.connection()})
    w.verify(third["access_token"])
    w.client.call("AuthService.Logout", {"refresh_token": w.login(name, password)["tokens"]["refresh_token"]})
    body = {"email": f"{name}@walk.example", "password": "not-the-password-1", "client": w.connection("192.0.2.10")}
    attempt(w, "AuthService.Login", body)


def backends(w, name):
    """A session that is verified and refreshed again and again."""
    user = w.register(name, w.new_password(name))
    minted = w.client.call("TokenService.MintSession", {"user_id": user["id"], "client": w.connection(), "request_id": name})
    tokens = w.keep(minted["tokens"])
    for _ in range(20):
        for _ in range(5):
            w.verify(tokens["access_token"])
            time.sleep(0.01)
        w.client.call("TokenService.ExchangeToken", {"access_token": tokens["access_token"], "scopes": ["auth.read"]})
        tokens = w.refresh(tokens["refresh_token"])


def offenders(w, name):
    """Violations up to a ban, and a ban of addresses."""
    user = w.register(name, w.new_password(name))
    for turn in range(4):
        body = {"type": "message_limit", "user_id": user["id"], "score": 5, "request_id": f"{name}-{turn}"}
        w.client.call("ModerationService.RecordViolation", body)
        w.client.call("ModerationService.CheckAccess", {"user_id": user["id"]})
    w.client.call("ModerationService.BanTarget", {"cidr": "198.51.100.0/24", "duration": "60s", "reason": "load"})
    w.client.call("ModerationService.CheckAccess", {"ip_address": "198.51.100.7"})


def federated_users(w, name):
    """A sign-in at the provider, and its tokens in templates, renewed each time."""
    access = w.federated(name)["signed_in"]["tokens"]["access_token"]
    subject = {"access_token": access}
    for _ in range(3):
        w.resolve(access, {"Authorization": BEARER, "X-Id": "{{LIBRECHAT_OPENID_ID_TOKEN}}"})
    headers = {"Authorization": BEARER}
    endpoint = {"name": "load", "baseURL": "https://llm.example.com/v1", "apiKey": "user_provided", "headers": headers}
    w.client.call("FederationService.ResolveEndpoint", {"subject": subject, "endpoint": endpoint})
    server = {"type": "streamable-http", "url": "https://mcp.example.com/", "headers": headers}
    w.client.call("FederationService.ResolveMcpServer", {"subject": subject, "server": server})
    w.provider.fail(grant_type="refresh_token", status=503, times=1)
    attempt(w, "FederationService.ResolvePlaceholders", {"subject": subject, "sink": "SINK_HEADER", "entries": headers})


def burst(w, name):
    """Many sign-ins at the same moment."""
    stub, request = w.client.stub("AuthService.Login")
    bodies = ({"email": f"{name}@walk.example", "password": "not-the-password-1", "client": w.connection()} for _ in range(BURST))
    for answer in [stub.future(json_format.ParseDict(body, request()), timeout=20) for body in bodies]:
        answer.exception()


def bursts(w, name):
    """Such a burst, and some time for others."""
    burst(w, name)
    time.sleep(5)


def watchers(w, name):
    """A watch of revocations that lasts until a few of them came in."""
    seen = itertools.islice((event for event in w.client.stream("TokenService.WatchRevocations") if event["cursor"]), 20)
    assert "snapshot_end" in next(seen), name
    assert len(list(seen)) == 19, name


# So many threads of each.
KINDS = {local_users: 6, backends: 16, offenders: 4, federated_users: 1, bursts: 1, watchers: 1}


class Load:
    """The kinds of backends at one service, until they are told to end."""

    def __init__(self, service, provider):
        self.world = World(service, provider)
        self.done, self.failures, self.ended = Counter(), Counter(), Event()
        self.pool = ThreadPoolExecutor(sum(KINDS.values()))
        self.threads = [self.pool.submit(self.repeat, kind, number) for kind, count in KINDS.items() for number in range(count)]

    def repeat(self, kind, number):
        for turn in itertools.count():
            if self.ended.is_set():
                return
            try:
                kind(self.world, f"{kind.__name__}-{number}-{turn}")
                self.done[kind.__name__] += 1
            except Failure as failure:
                self.failures[failure.reason or failure.code] += 1

    def end(self):
        """Tells the backends to end after what is under way."""
        self.ended.set()

    def check(self):
        """Waits for the end. Everything was done at least once, and what failed had to."""
        for thread in self.threads:
            thread.result()
        missing = {kind.__name__ for kind in KINDS} - set(self.done)
        unexpected = set(self.failures) - TROUBLE
        assert not missing and not unexpected, f"never done: {missing}; failures: {self.failures}"


def lock(url, world, seconds):
    """Nobody reads or writes sessions and the counts of sign-ins for so long, in which many want to sign in."""
    command = ["psql", "--quiet", "--no-align", "--tuples-only", url]
    with ThreadPoolExecutor(1) as pool, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as psql:
        psql.stdin.write("BEGIN; LOCK TABLE limits, sessions; SELECT 'locked';\n")
        psql.stdin.flush()
        said = psql.stdout.readline()
        assert said == "locked\n", said
        pool.submit(burst, world, "locked")
        time.sleep(seconds)


def begin_new_epoch(url):
    """What `countersign epoch bump` does."""
    run_sql(url, "UPDATE markers SET value = md5(random()::text) WHERE name = 'epoch'")


def cut_off(url, seconds):
    """The database accepts no connection for so long, and ends those that there are."""
    server, name = os.environ["COUNTERSIGN_TEST_POSTGRES"], urlsplit(url).path.removeprefix("/")
    run_sql(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        run_sql(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        time.sleep(seconds)
    finally:
        run_sql(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
