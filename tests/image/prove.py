"""Builds the Dockerfile's runtime stage around a binary and runs it: `prove.py [path of the binary]`. Needs root and buildah.

No image can be pulled here, so the base is made from scratch with the libraries that the binary links, and the stage that compiles is
replaced by the binary. The rest of the Dockerfile is built as it stands. The image then runs as its own user, with a read-only root and
its one volume, inside limits of memory and CPU, and twenty users sign in at once.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from client import Client  # before grpc itself: it sets how grpc behaves

from limits import Limits
from service import free_port, serving, until

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = "/var/lib/countersign"
WANTED = {"memory": "512Mi", "cpu": "2"}
USERS = 20
# What a container's runtime does: a root that cannot be written, one volume, and a user without a way to gain privileges.
MOUNT = """
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount --bind "$VOLUME" "$ROOT$DATA"
mount -t proc proc "$ROOT/proc"
mount --rbind /sys "$ROOT/sys"
exec setpriv --no-new-privs "$PYTHON" -c "$ENTER"
"""
ENTER = """
import os
place = {name: os.environ.pop(name) for name in ("ROOT", "DATA", "BINARY", "PERSON", "PYTHON", "ENTER", "VOLUME")}
user, group = map(int, place["PERSON"].split(":"))
os.chroot(place["ROOT"])
os.chdir(place["DATA"])
os.setgroups([])
os.setresgid(group, group, group)
os.setresuid(user, user, user)
os.execv(place["BINARY"], [place["BINARY"]])
"""


def sh(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Image:
    def __init__(self, binary):
        self.directory = Path(tempfile.mkdtemp(prefix="countersign-image-"))
        self.buildah = ["buildah", "--storage-driver", "vfs", "--root", self.directory / "storage", "--runroot", self.directory / "run"]
        base = self.base(binary)
        context = self.directory / "context"
        (context / "out/data").mkdir(parents=True)
        shutil.copy(binary, context / "out/countersign")
        (context / "Dockerfile").write_text(self.dockerfile())
        arguments = ["--build-arg", f"RUNTIME_IMAGE={base}", "--build-arg", "REVISION=0f1e"]
        sh(*self.buildah, "build", "--isolation", "chroot", *arguments, "--tag", "countersign", context)
        self.settings = json.loads(sh(*self.buildah, "inspect", "--type", "image", "countersign"))["OCIv1"]["config"]
        container = sh(*self.buildah, "from", "--pull-never", "countersign").strip()
        self.root = sh(*self.buildah, "mount", container).strip()

    def base(self, binary):
        """An image with the libraries that the binary links, and the directories that a runtime mounts over."""
        files = self.directory / "base"
        for library in re.findall(r"(/\S+) \(0x", sh("ldd", binary)):
            target = files / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(library).resolve(), target)
        for name in ("proc", "sys", "dev", "tmp"):
            (files / name).mkdir()
        container = sh(*self.buildah, "from", "scratch").strip()
        sh(*self.buildah, "copy", container, files, "/")
        sh(*self.buildah, "commit", container, "localhost/base")
        return "localhost/base"

    @staticmethod
    def dockerfile():
        """The Dockerfile with the binary in place of the stage that compiles it."""
        text = (ROOT / "Dockerfile").read_text()
        first, runtime = text.index("\nFROM ${BUILDER_IMAGE}"), text.index("\nFROM ${RUNTIME_IMAGE}")
        return f"{text[:first]}\nFROM scratch AS builder\nCOPY out /out\n{text[runtime:]}"

    def start(self, volume, log, environment):
        (binary,) = self.settings["Entrypoint"]
        place = {"ROOT": self.root, "VOLUME": str(volume), "DATA": self.settings["WorkingDir"], "BINARY": binary}
        place |= {"PERSON": self.settings["User"], "PYTHON": sys.executable, "ENTER": ENTER, "PATH": os.environ["PATH"]}
        return subprocess.Popen(["unshare", "--mount", "sh", "-euc", MOUNT], env=place | environment, stdout=log, stderr=log)

    def remove(self):
        sh(*self.buildah, "umount", "--all")
        shutil.rmtree(self.directory, ignore_errors=True)


def check_settings(settings):
    expected = {"User": "65532:65532", "WorkingDir": DATA, "Volumes": {DATA: {}}, "StopSignal": "SIGTERM"}
    seen = {name: settings.get(name) for name in expected}
    assert seen == expected, seen
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.revision"] == "0f1e" and labels["org.opencontainers.image.version"], labels


def sign_in_at_once(address):
    """Registers the users and signs all of them in at the same time."""
    client = Client(address)
    users = [
        {"email": f"user{number}@example.com", "password": f"kestrel lantern {number}", "client": {"ip_address": f"198.18.0.{number + 1}"}}
        for number in range(USERS)
    ]
    for user in users:
        client.call("AuthService.Register", {**user, "name": "A User"})
    with ThreadPoolExecutor(USERS) as pool:
        answers = list(pool.map(lambda user: client.call("AuthService.Login", user), users))
    client.close()
    assert all(answer["signed_in"]["tokens"]["access_token"] for answer in answers)


def main():
    binary = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/countersign").resolve()
    image = Image(binary)
    process = limits = None
    log_file = image.directory / "log"
    try:
        check_settings(image.settings)
        print(f"ok   the image has its user, volume, stop signal and labels; its root has {sh('du', '-sh', image.root).split()[0]}")
        volume = image.directory / "volume"
        shutil.copytree(image.root + DATA, volume)
        shutil.chown(volume, 65532, 65532)
        address = f"127.0.0.1:{free_port()}"
        settings = {"COUNTERSIGN_LISTEN": address}
        with open(log_file, "ab") as log:
            process = image.start(volume, log, settings)
        limits = Limits(process.pid, WANTED)
        until("it serves", lambda: serving(address) or process.poll() is not None)
        assert process.poll() is None, "it ended"
        owners = {path.name: path.stat().st_uid for path in volume.iterdir()}
        assert set(owners.values()) == {65532} and "countersign.db" in owners, owners
        print("ok   it serves as its user, with a read-only root, and its files are in the volume")
        sign_in_at_once(address)
        print(f"ok   {USERS} users sign in at once within {WANTED}: {limits.report()}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "it did not end well"
        print("ok   it ends at SIGTERM")
    except Exception:
        print(log_file.read_text(errors="replace")[-4000:] if log_file.exists() else "")
        raise
    finally:
        if process and process.poll() is None:
            process.kill()
            process.wait()
        if limits:
            limits.remove()
        image.remove()


if __name__ == "__main__":
    main()
