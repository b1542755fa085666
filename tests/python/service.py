"""The release binary as a child process with a directory of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from client import Client  # before grpc itself: it sets how grpc behaves

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

DATABASE = "countersign.db"
KEY = "countersign.db.key"
START_SECONDS = 20
STOP_SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, condition, seconds=15):
    """Asks `condition` again and again until it is true; what it gave is the answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = condition()
        if seen:
            return seen
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} seconds, last seen: {condition()!r}")


class Service:
    """Starts in an empty directory with the default configuration but for a free port and `environment`."""

    def __init__(self, binary, **environment):
        self.binary = str(Path(binary).resolve())
        self.command = [self.binary]
        self.directory = Path(tempfile.mkdtemp(prefix="countersign-walk-"))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "COUNTERSIGN_OPS_LISTEN": "off", **environment}
        self.log_file = self.directory / "log"
        self.process = self.client = None

    def start(self, token=None):
        """Starts and waits for grpc.health.v1 to say SERVING: the seconds that took."""
        address = f"127.0.0.1:{free_port()}"
        began = time.monotonic()
        self.spawn(address)
        deadline = began + START_SECONDS
        while not serving(address):
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with exit code {self.process.returncode}: {self.log()[-2000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not SERVING within {START_SECONDS} seconds: {self.log()[-2000:]}")
            time.sleep(0.02)
        took = time.monotonic() - began
        self.client, self.address = Client(address, token), address
        return took

    def spawn(self, address):
        with open(self.log_file, "ab") as log:
            environment = {"COUNTERSIGN_OPS_LISTEN": "off", **self.environment, "COUNTERSIGN_LISTEN": address}
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def refuses_to_start(self, address=None):
        """What it says when it ends by itself with a failure instead of serving."""
        before = len(self.log())
        self.spawn(address or f"127.0.0.1:{free_port()}")
        try:
            code = self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it should have refused to start: {self.log()[before:]}") from None
        said = self.log()[before:]
        assert code != 0, f"it ended with exit code 0: {said}"
        return said

    def run(self, *arguments, **environment):
        """A subcommand in the service's directory and environment."""
        environment = {**self.environment, **environment}
        return subprocess.run([self.binary, *arguments], cwd=self.directory, env=environment, capture_output=True, text=True, timeout=30)

    def kill(self):
        self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM: its exit code."""
        return self._end(signal.SIGTERM)

    def terminate(self):
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def _end(self, number):
        if self.client:
            self.client.close()
            self.client = None
        if self.process is None or self.process.poll() is not None:
            return self.process and self.process.returncode
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running {STOP_SECONDS} seconds after signal {number}: {self.log()[-2000:]}") from None

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def store_files(self):
        """The database with what the engine keeps beside it."""
        return sorted(path for path in self.directory.iterdir() if path.name.startswith(DATABASE) and path.name != KEY)

    def copy_store(self):
        """The store as it is now, to be put back; only while the service is stopped."""
        return {path.name: path.read_bytes() for path in self.store_files()}

    def put_back(self, copy):
        for path in self.store_files():
            path.unlink()
        for name, content in copy.items():
            (self.directory / name).write_bytes(content)

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def serving(address, service=""):
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING
