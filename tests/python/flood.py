"""What a flood of sign-ins does to the other calls: `flood.py BINARY`. Prints the figures; fails if another call fails.

800 password sign-ins are kept in flight, while a backend verifies tokens and refreshes sessions, on SQLite and on the PostgreSQL of
COUNTERSIGN_TEST_POSTGRES. The process that floods runs at the lowest priority: a real flood comes from other machines.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from client import Client  # before grpc itself: it sets how grpc behaves
from google.protobuf import json_format
from service import Service
from world import expect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chart"))

from existing import database, encryption_key

IN_FLIGHT, CHANNELS = 800, 8
SECONDS = 8
SESSIONS = 50
PAUSE_SECONDS = 0.004
LOGIN, REFRESH, VERIFY = "AuthService.Login", "TokenService.RefreshSession", "TokenService.VerifyToken"
ANN = {"email": "ann@example.com", "password": "kestrel lantern orbit"}


def address(number):
    return f"198.18.{number // 256 % 256}.{number % 256}"


class Flood:
    """Sign-ins with the right and a wrong password in turn, in a process of their own, from `with` to its end."""

    def __init__(self, service):
        self.service = service

    def __enter__(self):
        command = [sys.executable, __file__, "--flood", self.service.address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        expect(self.process.stdout.readline() == "in flight\n")
        return self

    def __exit__(self, *_):
        self.said = self.process.communicate()[0].strip()


def flood(server):
    """Keeps the sign-ins in flight until standard input ends."""
    os.nice(19)
    clients = [Client(server, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)]
    places, stop = threading.Semaphore(IN_FLIGHT), threading.Event()
    outcomes = {}

    def ended(call):
        outcome = call.code().name
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        places.release()

    def wait():
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    for number, client in enumerate(itertools.cycle(clients)):
        if number == IN_FLIGHT:
            print("in flight", flush=True)
        places.acquire()
        if stop.is_set():
            break
        stub, request = client.stub(LOGIN)
        password = ANN["password"] if number % 2 else "wrong lantern orbit"
        body = {**ANN, "password": password, "client": {"ip_address": address(number)}}
        stub.future(json_format.ParseDict(body, request()), timeout=20).add_done_callback(ended)
    print(f"{sum(outcomes.values())} sign-ins: {outcomes}")


class Backend:
    """Verifies and refreshes again and again; each session in turn."""

    def __init__(self, client):
        self.client = client
        registered = client.call("AuthService.Register", {**ANN, "name": "Ann", "client": {"ip_address": address(0)}})
        subject = {"user_id": registered["user"]["id"]}
        minted = (client.call("TokenService.MintSession", {**subject, "request_id": str(n)}) for n in range(SESSIONS))
        self.tokens = [answer["tokens"] for answer in minted]

    def measure(self):
        """How long the calls took, by method."""
        times = {VERIFY: [], REFRESH: []}
        end = time.monotonic() + SECONDS
        for session in itertools.cycle(range(SESSIONS)):
            if time.monotonic() > end:
                return "; ".join(f"{method} {spread(taken)}" for method, taken in times.items())
            held = self.tokens[session]
            verdict = self.timed(times, VERIFY, {"access_token": held["access_token"]})
            expect(verdict["active"], verdict)
            refresh = {"refresh_token": held["refresh_token"], "client": {"ip_address": address(0)}}
            self.tokens[session] = self.timed(times, REFRESH, refresh)["tokens"]
            time.sleep(PAUSE_SECONDS)

    def timed(self, times, method, body):
        began = time.monotonic()
        answer = self.client.call(method, body)
        times[method].append(time.monotonic() - began)
        return answer


def spread(times):
    times = sorted(times)
    p50, p99 = (times[(len(times) - 1) * percent // 100] * 1000 for percent in (50, 99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, of {len(times)}"


def prove(engine, binary, **environment):
    service = Service(binary, COUNTERSIGN_LOG="warn", LOGIN_MAX="1000000", **environment)
    try:
        service.start()
        backend = Backend(service.client)
        print(f"{engine}, no flood: {backend.measure()}", flush=True)
        with Flood(service) as running:
            print(f"{engine}, flood:    {backend.measure()}")
        print(f"  {running.said}", flush=True)
        expect("OK" in running.said and "RESOURCE_EXHAUSTED" in running.said, running.said)
    finally:
        service.kill()
        service.remove()


def main(binary):
    prove("SQLite", binary)
    with database() as url:
        prove("PostgreSQL", binary, DATABASE_URL=url, COUNTERSIGN_ENCRYPTION_KEYS=encryption_key())


if __name__ == "__main__":
    if sys.argv[1] == "--flood":
        flood(sys.argv[2])
    else:
        main(sys.argv[1])
