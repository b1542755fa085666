"""Two replicas on PostgreSQL behind a client-side balancer, restarted in turn under load: `rolling.py BINARY`. No call may fail.

The server is that of COUNTERSIGN_TEST_POSTGRES. The balancer is gRPC's own `round_robin` over both addresses, as behind a headless Service.
"""

import json
import sys
import threading
import time
import urllib.request
from pathlib import Path

from client import Client, Failure  # before grpc itself: it sets how grpc behaves
from service import Service, free_port, serving, until

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chart"))

from existing import database, encryption_key

WORKERS = 8
ROUNDS = 2
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
ANN = {"email": "ann@example.com", "password": "kestrel lantern orbit"}
DEVICE = {"ip_address": "203.0.113.7"}


class Load:
    """Workers that refresh, verify and resolve without a pause; each has a session of its own."""

    def __init__(self, client, user):
        self.client, self.user = client, user
        self.calls, self.failures, self.stopping = [0] * WORKERS, [], threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(WORKERS)]

    def work(self, number):
        try:
            tokens = self.call(number, "TokenService.MintSession", {"user_id": self.user, "client": DEVICE})["tokens"]
            while not self.stopping.is_set():
                tokens = self.call(number, "TokenService.RefreshSession", {"refresh_token": tokens["refresh_token"]})["tokens"]
                for _ in range(5):
                    verdict = self.call(number, "TokenService.VerifyToken", {"access_token": tokens["access_token"]})
                    assert verdict["active"], verdict
                entries = {"entries": {"X-User": "{{LIBRECHAT_USER_ID}}"}, "sink": "SINK_HEADER"}
                subject = {"subject": {"access_token": tokens["access_token"]}}
                self.call(number, "FederationService.ResolvePlaceholders", {**subject, **entries})
        except (Failure, AssertionError) as failure:
            self.failures.append(failure)

    def call(self, number, method, body):
        answer = self.client.call(method, body)
        self.calls[number] += 1
        return answer

    def has_gone_on(self):
        """Whether each worker has made calls since, or has failed."""
        before = list(self.calls)
        until("calls", lambda: self.failures or all(now > then + 10 for now, then in zip(self.calls, before)))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Replica:
    """A process with addresses that it keeps over its restarts."""

    def __init__(self, binary, **environment):
        self.address, self.ops = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.service = Service(binary, COUNTERSIGN_OPS_LISTEN=self.ops, **environment)

    def start(self):
        self.service.spawn(self.address)
        until(f"{self.address} serves", lambda: serving(self.address))

    def restart(self):
        began = time.monotonic()
        code = self.service.stop()
        assert code == 0, f"exit code {code}: {self.service.log()[-2000:]}"
        took = time.monotonic() - began
        self.start()
        return took

    def has_verified(self):
        """Whether a VerifyToken has reached it since its start."""
        with urllib.request.urlopen(f"http://{self.ops}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        counts = [line for line in lines if line.startswith("rpc_server_call_duration_seconds_count") and "VerifyToken" in line]
        return any(float(line.rsplit(" ", 1)[1]) > 0 for line in counts)


def main(binary):
    with database() as url:
        key = encryption_key()
        replicas = [Replica(binary, DATABASE_URL=url, COUNTERSIGN_ENCRYPTION_KEYS=key) for _ in range(2)]
        try:
            roll(replicas)
        finally:
            for replica in replicas:
                replica.service.stop()
                replica.service.remove()


def roll(replicas):
    for replica in replicas:
        replica.start()
    # A list of addresses is no host's name, so the client has to be told one.
    options = [("grpc.service_config", ROUND_ROBIN), ("grpc.default_authority", "countersign")]
    client = Client("ipv4:" + ",".join(replica.address for replica in replicas), options=options)
    user = client.call("AuthService.Register", {**ANN, "name": "Ann", "client": DEVICE})["user"]["id"]
    with Load(client, user) as load:
        for _ in range(ROUNDS):
            for replica in replicas:
                load.has_gone_on()
                print(f"{replica.address} stopped within {replica.restart():.1f} s")
                # As a rolling update does, which waits for the new process before it ends the next.
                until(f"{replica.address} is called again", lambda: load.failures or replica.has_verified())
        load.has_gone_on()
    client.close()
    assert not load.failures, load.failures
    print(f"{sum(load.calls)} calls, none failed, over {2 * ROUNDS} restarts")


if __name__ == "__main__":
    main(sys.argv[1])
