"""A disk that fills up and is enlarged under a running service: `disk.py BINARY`. Needs root, to mount a file system of 3 MiB."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from client import Failure
from service import Service, serving, until
from world import expect

CLIENT = {"ip_address": "203.0.113.7"}
ANN = {"email": "ann@example.com", "password": "kestrel lantern orbit", "client": CLIENT}
AUTH = "countersign.v1.AuthService"


class Disk:
    """A file system in memory with so many MiB."""

    def __init__(self, size):
        self.path = Path(tempfile.mkdtemp(prefix="countersign-disk-"))
        self._mount(size)

    def enlarge(self, size):
        self._mount(size, "remount,")

    def remove(self):
        subprocess.run(["umount", self.path], check=True)
        self.path.rmdir()

    def _mount(self, size, options=""):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options}size={size}m", "countersign", self.path], check=True)


def fill(client, user):
    """Opens sessions until the disk is full: how many, and the refusal."""
    for count in range(100_000):
        try:
            client.call("TokenService.MintSession", {"user_id": user, "client": CLIENT})
        except Failure as failure:
            return count, failure
    raise AssertionError("the disk does not fill up")


def check(service, disk):
    client = service.client
    user = client.call("AuthService.Register", {**ANN, "name": "Ann"})["user"]["id"]
    tokens = client.call("AuthService.Login", ANN)["signed_in"]["tokens"]
    count, failure = fill(client, user)
    for _ in range(20):
        expect(failure.code == "UNAVAILABLE" and failure.reason == "STORE_UNAVAILABLE", failure)
        failure = client.fails("TokenService.MintSession", {"user_id": user, "client": CLIENT})
    verdict = client.call("TokenService.VerifyToken", {"access_token": tokens["access_token"]})
    expect(verdict["active"], verdict)
    print(f"ok   the disk is full after {count} sessions: writes are refused, and a token is still verified", flush=True)

    disk.enlarge(64)

    def writes():
        try:
            return client.call("TokenService.MintSession", {"user_id": user, "client": CLIENT})
        except Failure:
            return None

    until("there is room, and the service writes again", writes)
    pair = client.call("TokenService.RefreshSession", {"refresh_token": tokens["refresh_token"], "client": CLIENT})["tokens"]
    listed = client.call("TokenService.ListSessions", {"subject": {"user_id": user}, "page_size": 1000})["sessions"]
    expect(len(listed) == min(count + 2, 1000), len(listed), count)
    expect(serving(service.address) and serving(service.address, AUTH))
    print("ok   with more room the same process writes again, and what it had acknowledged is there", flush=True)

    expect(service.stop() == 0)
    service.start()
    verdict = service.client.call("TokenService.VerifyToken", {"access_token": pair["access_token"]})
    expect(verdict["active"], verdict)
    print("ok   it starts again on the same database", flush=True)


def main():
    if os.geteuid() != 0:
        print("skipped: only root may mount the file system that is to fill up")
        return
    disk = Disk(3)
    service = Service(sys.argv[1], DATABASE_URL=f"sqlite:{disk.path / 'test.db'}")
    try:
        service.start()
        check(service, disk)
    finally:
        service.kill()
        service.remove()
        disk.remove()


if __name__ == "__main__":
    main()
