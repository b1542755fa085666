"""What callers can make a service occupy: `memory.py BINARY`. Prints the figures; fails beyond the limits. Needs root.

Sessions are opened and verified until the cache of tokens is full, and then twenty users sign in at once, in a control group with the
chart's default limits, and in one with half of its memory: the kernel kills a process that exceeds them. Then without limits: twenty users
sign in at once, and peers that keep what they should give back: answers that they do not read, requests that they do not
end, and strangers who ask for reflection. Meanwhile an honest backend verifies a token again and again.
"""

import re
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import yaml
from client import Failure
from google.protobuf import json_format
from http2 import Connection, message
from service import Service, free_port, until
from world import at_once, expect

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "image"), str(TESTS / "chart")]

from limits import Limits
from pod import quantity

MIB = 1024
VALUES = TESTS.parent / "helm/values.yaml"
# As a browser sends it.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
# How much the connections to SQLite keep of its pages, in MiB.
DATABASE = 10
# How much of its limit a process may take that has filled its caches, so that there is room for what else it may be asked for.
FULL_SHARE = 0.8
# For how long, and for how many calls of the honest backend, the peers hold what they have.
HELD_SECONDS = 4
HONEST_CALLS = 50
BATCH = "TokenService.BatchVerifyTokens"
RESOLVE = "FederationService.ResolvePlaceholders"
VERIFY = "TokenService.VerifyToken"
CALLERS = """callers:
  - name: backend
    token_sha256: ["{backend}"]
    permissions: ["auth.sign_in", "token.verify"]
"""


class Memory:
    """The resident memory of a process, in MiB."""

    def __init__(self, process):
        self.directory = f"/proc/{process.pid}"

    def now(self):
        return self._read("VmRSS")

    def peak(self):
        """The most since `forget_peak`."""
        return self._read("VmHWM")

    def forget_peak(self):
        with open(f"{self.directory}/clear_refs", "w") as file:
            file.write("5")

    def _read(self, name):
        with open(f"{self.directory}/status") as file:
            (line,) = [line for line in file if line.startswith(name + ":")]
        return int(line.split()[1]) / MIB


class Honest:
    """A backend that verifies one token again and again, from `with` to its end."""

    def __init__(self, service, token):
        self.client, self.token = service.client, token
        self.client.stub(VERIFY)
        self.times, self.failures, self.stop = [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.wait(0.02):
            began = time.monotonic()
            try:
                answer = self.client.call(VERIFY, {"access_token": self.token})
                expect(answer["active"], answer)
            except (Failure, AssertionError) as failure:
                self.failures.append(failure)
            self.times.append(time.monotonic() - began)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def report(self):
        expect(not self.failures, self.failures[:3])
        times = sorted(self.times)
        return f"{len(times)} honest calls, p50 {times[len(times) // 2] * 1000:.1f} ms, max {times[-1] * 1000:.0f} ms"


def user(number):
    client = {"ip_address": f"198.18.0.{number + 1}"}
    return {"email": f"user{number}@example.com", "password": f"kestrel lantern {number}", "client": client}


def sign_in(service):
    """The access token of a new user."""
    service.client.call("AuthService.Register", {**user(0), "name": "A User"})
    return service.client.call("AuthService.Login", user(0))["signed_in"]["tokens"]["access_token"]


def serialized(service, method, body):
    _, request = service.client.stub(method)
    return json_format.ParseDict(body, request(), descriptor_pool=service.client.pool).SerializeToString()


def cached(ops):
    """Tokens in the cache, the bytes that they occupy by its own account, and how many they may."""
    with urllib.request.urlopen(f"http://{ops}/metrics") as answer:
        shown = dict(re.findall(r'^countersign_cache_(\w+)\{cache="tokens"\} (\d+)$', answer.read().decode(), re.M))
    return [int(shown[name]) for name in ("entries", "bytes", "bytes_max")]


def open_sessions(service, users, count):
    """Opens so many sessions, and verifies their tokens."""
    mint, request = service.client.stub("TokenService.MintSession")
    verify, batch = service.client.stub(BATCH)
    client = {"ip_address": "198.18.0.1", "user_agent": USER_AGENT, "device_name": "a laptop"}
    for _ in range(0, count, 100):
        bodies = [{"user_id": user, "client": client} for user in users] * (100 // len(users))
        minting = [mint.future(json_format.ParseDict(body, request(), descriptor_pool=service.client.pool), timeout=60) for body in bodies]
        tokens = [one.result().tokens.access_token for one in minting]
        results = verify(batch(access_tokens=tokens), timeout=60).results
        expect(len(results) == 100, results)


def sessions(binary, resources):
    """Fills the cache of tokens within these limits, and goes on for half as long; then twenty users sign in at once."""
    limits, ops = Limits(resources), f"127.0.0.1:{free_port()}"
    service = Service(binary, COUNTERSIGN_LOG="warn", COUNTERSIGN_OPS_LISTEN=ops)
    try:
        service.command = limits.command(service.command)
        service.start()
        users = [service.client.call("AuthService.Register", {**user(number), "name": "A User"})["user"]["id"] for number in range(20)]
        memory, opened = Memory(service.process), 0
        before = memory.now()
        while (full := cached(ops))[1] < 0.97 * full[2]:
            open_sessions(service, users, 2_000)
            opened += 2_000
            expect(opened < 200_000, full)
        filled = memory.now()
        open_sessions(service, users, opened // 2)
        answers = at_once(lambda number: service.client.call("AuthService.Login", user(number)))
        expect(all(answer["signed_in"]["tokens"]["access_token"] for answer in answers))
        peak, (entries, estimate, most) = memory.peak(), cached(ops)
        each = (filled - before) * MIB * MIB / entries
        expect(peak * MIB * MIB < FULL_SHARE * quantity(resources["memory"]), peak)
        expect(estimate <= most, estimate, most)
        # Beside the tokens there is what the database's connections keep.
        expect((filled - before - DATABASE) * MIB * MIB < 1.1 * most, filled, before, most)
        return (
            f"{before:.0f} MiB before, {filled:.0f} MiB with {entries} tokens cached ({each:.0f} bytes each, estimated {estimate // entries}), "
            f"{peak:.0f} MiB at most with {opened // 2} more and the sign-ins; the group {limits.report()}"
        )
    finally:
        service.kill()
        service.remove()
        limits.remove()


def path(method):
    return "/countersign.v1." + method.replace(".", "/")


def logins(service, memory):
    for number in range(20):
        service.client.call("AuthService.Register", {**user(number), "name": "A User"})
    before = memory.now()
    memory.forget_peak()
    answers = at_once(lambda number: service.client.call("AuthService.Login", user(number)))
    expect(all(answer["signed_in"]["tokens"]["access_token"] for answer in answers))
    peak = memory.peak()
    expect(peak < 120, peak)
    after = until("the memory comes back", lambda: memory.now() if memory.now() < 60 else None)
    return f"{before:.0f} MiB before, {peak:.0f} MiB at most, {after:.0f} MiB after"


def attack(service, memory, access_token, work, connections):
    """`work` on so many connections at once, which are then held: the figures."""
    memory.forget_peak()
    with Honest(service, access_token) as honest, ThreadPoolExecutor(len(connections)) as pool:
        done = list(pool.map(work, connections))
        time.sleep(HELD_SECONDS)
        until("honest calls go on", lambda: len(honest.times) >= HONEST_CALLS, 60)
        peak = memory.peak()
        for connection in connections:
            connection.close()
    expect(peak < 128, peak)
    return f"{sum(done)} begun, {peak:.0f} MiB at most, {memory.now():.0f} MiB after; {honest.report()}"


def answers(service, memory):
    """400 answers of 3.9 MiB that nobody reads."""
    access_token = sign_in(service)
    values = {f"e{number}": "{{LONG}}" * 39 for number in range(25)}
    body = {"subject": {"access_token": access_token}, "sink": "SINK_TEXT", "entries": values, "custom_vars": {"LONG": "x" * 4096}}
    answer = service.client.call(RESOLVE, body)
    expect(sum(map(len, answer["entries"].values())) > 3_900_000)
    request = message(serialized(service, RESOLVE, body))

    def ask(connection):
        return sum(connection.send(connection.begin(path(RESOLVE)), request, end=True) == len(request) for _ in range(8))

    return attack(service, memory, access_token, ask, [Connection(service.address) for _ in range(50)])


def bodies(service, memory):
    """800 requests of 1.9 MiB that lack their last byte."""
    access_token = sign_in(service)
    request = message(serialized(service, BATCH, {"access_tokens": ["x" * 19_900] * 100}))[:-1]

    def ask(connection):
        streams = [connection.begin(path(BATCH)) for _ in range(16)]
        for stream in streams:
            connection.send(stream, request)
        return len(streams)

    return attack(service, memory, access_token, ask, [Connection(service.address) for _ in range(50)])


def reflection(service, memory):
    """Strangers who ask for descriptors, a hundred times on each of a thousand streams, and do not read them."""
    token = "csc_of-the-backend"
    callers = service.directory / "callers.yaml"
    callers.write_text(CALLERS.format(backend=sha256(token.encode()).hexdigest()))
    service.environment.update(COUNTERSIGN_CALLERS=str(callers), COUNTERSIGN_REFLECTION="on")
    service.stop()
    service.start(token)
    access_token, memory = sign_in(service), Memory(service.process)
    symbol = b"countersign.v1.AuthService"
    # ServerReflectionRequest.file_containing_symbol
    question = message(b"\x22" + bytes([len(symbol)]) + symbol)

    def ask(connection):
        reflected = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        return sum(connection.send(connection.begin(reflected), question * 100, patience=0.2) > 0 for _ in range(8))

    return attack(service, memory, access_token, ask, [Connection(service.address) for _ in range(127)])


def main():
    resources = yaml.safe_load(VALUES.read_text())["resources"]["limits"]
    half = resources | {"memory": quantity(resources["memory"]) / 2}
    for limits in (resources, half):
        print(f"ok   sessions within {quantity(limits['memory']) / MIB / MIB:.0f} MiB: {sessions(sys.argv[1], limits)}", flush=True)
    for name, work in {"20 logins": logins, "400 answers": answers, "800 requests": bodies, "reflection": reflection}.items():
        service = Service(sys.argv[1], COUNTERSIGN_LOG="warn")
        try:
            service.start()
            print(f"ok   {name}: {work(service, Memory(service.process))}", flush=True)
        finally:
            service.kill()
            service.remove()


if __name__ == "__main__":
    main()
