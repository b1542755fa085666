"""What callers can make a service occupy: `memory.py BINARY`. Prints the figures; fails beyond the limits.

Twenty users sign in at once. Then peers that keep what they should give back: answers that they do not read, requests that they do not
end, and strangers who ask for reflection. Meanwhile an honest backend verifies a token again and again.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from client import Failure
from google.protobuf import json_format
from http2 import Connection, message
from service import Service, until
from world import at_once, expect

MIB = 1024
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
