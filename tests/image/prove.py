"""Builds the Dockerfile and runs what comes out: `prove.py [path of a binary]`. Needs root and buildah.

No image can be pulled here, so the last stage's base is made from scratch with the libraries that the binary links. With a binary, it
takes the place of the stage that compiles it; without one, that stage runs with this machine's compilers, from a clean clone. The image
then runs as its own user, with a read-only root and its one volume, inside the chart's default limits of memory and CPU, and twenty
users sign in at once: no more passwords are hashed at a time than the limit has cores. With one core, and fewer users, so that none waits
for too long, it shows that the limit decides and not the machine.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "python"), str(TESTS / "chart")]

from client import Client  # before grpc itself: it sets how grpc behaves

from chart import HERE, RELEASE, ROOT, documents, find, render
from installed import generated, walk
from limits import Limits
from pod import Container, quantity
from service import free_port, serving, until

DATA = "/var/lib/countersign"
USERS, USERS_OF_ONE_CORE = 20, 8
# The service's own bound on the passwords that it hashes at a time.
MOST_HASHED = 4
RUNNING = re.compile(r'^countersign_password_calls\{state="running"\} (\d+)$', re.M)
# Of those in distroless/cc, the ones that the binary links.
LIBRARIES = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libgcc_s.so.1")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# What a container's runtime does: a root that cannot be written, volumes, and a user without a way to gain privileges.
ENTER = """
import os, sys
root, directory, user, *command = sys.argv[1:]
user, group = map(int, user.split(":"))
os.chroot(root)
os.chdir(directory)
os.setgroups([group])
os.setresgid(group, group, group)
os.setresuid(user, user, user)
os.execv(command[0], command)
"""


def sh(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Image:
    """The image around a binary, or the whole Dockerfile if there is none."""

    def __init__(self, binary):
        self.directory = Path(tempfile.mkdtemp(prefix="countersign-image-"))
        self.buildah = ["buildah", "--storage-driver", "vfs", "--root", self.directory / "storage", "--runroot", self.directory / "run"]
        context = self.directory / "context"
        context.mkdir()
        arguments = self.around(binary, context) if binary else self.whole(context)
        arguments += ["--build-arg", f"RUNTIME_IMAGE={self.runtime()}", "--build-arg", "REVISION=0f1e"]
        sh(*self.buildah, "build", "--isolation", "chroot", *arguments, "--tag", "countersign", context)
        self.settings = json.loads(sh(*self.buildah, "inspect", "--type", "image", "countersign"))["OCIv1"]["config"]
        container = sh(*self.buildah, "from", "--pull-never", "countersign").strip()
        self.root = sh(*self.buildah, "mount", container).strip()

    def around(self, binary, context):
        """The Dockerfile with the binary in place of the stage that compiles it."""
        (context / "out/data").mkdir(parents=True)
        shutil.copy(binary, context / "out/countersign")
        text = (ROOT / "Dockerfile").read_text()
        first, runtime = text.index("\nFROM ${BUILDER_IMAGE}"), text.index("\nFROM ${RUNTIME_IMAGE}")
        (context / "Dockerfile").write_text(f"{text[:first]}\nFROM scratch AS builder\nCOPY out /out\n{text[runtime:]}")
        return []

    def whole(self, context):
        """The Dockerfile as it stands, from a clean clone, with this machine's compilers in place of the builder's image."""
        sh("git", "clone", "--quiet", ROOT, context)
        toolchain = sh("rustc", "--print", "sysroot", cwd=ROOT).strip()
        cargo = os.environ.get("CARGO_HOME", Path.home() / ".cargo")
        container = sh(*self.buildah, "from", "scratch").strip()
        root = Path(sh(*self.buildah, "mount", container).strip())
        for name in ("usr", "etc", "tmp", "toolchain", "cargo"):
            (root / name).mkdir()
        for name in ("bin", "lib", "lib64", "sbin"):
            (root / name).symlink_to(f"usr/{name}")
        environment = ("--env", "PATH=/toolchain/bin:/usr/bin:/bin", "--env", "CARGO_HOME=/cargo")
        sh(*self.buildah, "config", *environment, container)
        sh(*self.buildah, "commit", container, "localhost/builder")
        volumes = ("/usr:/usr:ro", "/etc:/etc:ro", f"{toolchain}:/toolchain:ro", f"{cargo}:/cargo")
        mounts = [part for volume in volumes for part in ("--volume", volume)]
        return [*mounts, "--build-arg", "BUILDER_IMAGE=localhost/builder"]

    def runtime(self):
        """An image with the libraries and certificates of the real one, and the directories that a runtime mounts over."""
        files = self.directory / "base"
        known = dict(re.findall(r"^\s*(\S+) \(libc6,x86-64.*\) => (\S+)$", sh("/sbin/ldconfig", "-p"), re.M))
        for library in (CERTIFICATES, *(Path(known[name]) for name in LIBRARIES)):
            target = files / str(library).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library.resolve(), target)
        # Where the binary looks for the loader.
        (files / "lib64").symlink_to("lib/x86_64-linux-gnu")
        for name in ("proc", "sys", "dev", "tmp"):
            (files / name).mkdir()
        container = sh(*self.buildah, "from", "scratch").strip()
        sh(*self.buildah, "copy", container, files, "/")
        sh(*self.buildah, "commit", container, "localhost/runtime")
        return "localhost/runtime"

    def popen(self, arguments, mounts, environment, limits=None, **streams):
        """Starts the image's program in the image, with these directories mounted, and within these limits."""
        root, commands = shlex.quote(self.root), ["mount --make-rprivate /"]
        commands += [f"mkdir -p {root}{shlex.quote(inside)}" for _, inside in mounts]
        commands += [f"mount --bind {root} {root}", f"mount -o remount,bind,ro {root}", f"mount -t proc proc {root}/proc"]
        commands += [f"mount --rbind /sys {root}/sys"]
        commands += [f"mount --bind {shlex.quote(str(outside))} {root}{shlex.quote(inside)}" for outside, inside in mounts]
        enter = [sys.executable, "-c", ENTER, self.root, self.settings["WorkingDir"], self.settings["User"]]
        command = shlex.join(["setpriv", "--no-new-privs", "env", "-i", *(f"{name}={value}" for name, value in environment.items())])
        program = shlex.join([*enter, *self.settings["Entrypoint"], *arguments])
        script = "\n".join([*commands, f"exec {command} {program}"])
        command = ["unshare", "--mount", "sh", "-euc", script]
        return subprocess.Popen(limits.command(command) if limits else command, stdin=subprocess.DEVNULL, **streams)

    def remove(self):
        sh(*self.buildah, "umount", "--all")
        shutil.rmtree(self.directory, ignore_errors=True)


def check_settings(settings):
    """The image says what its Dockerfile says and runs as the chart's user; the limits of the chart."""
    expected = {"User": "65532:65532", "WorkingDir": DATA, "Volumes": {DATA: {}}, "StopSignal": "SIGTERM"}
    seen = {name: settings.get(name) for name in expected}
    assert seen == expected, seen
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.revision"] == "0f1e" and labels["org.opencontainers.image.version"], labels
    pod = find(documents(render(HERE / "values/default.yaml")), "Deployment", RELEASE)["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert settings["User"] == f"{context['runAsUser']}:{context['runAsGroup']}", "the chart runs it as another user"
    return pod["containers"][0]["resources"]["limits"]


def sign_in_at_once(address, ops, count):
    """Registers the users and signs all of them in at the same time: how many passwords were hashed at a time."""
    client = Client(address)
    users = [
        {"email": f"user{number}@example.com", "password": f"kestrel lantern {number}", "client": {"ip_address": f"198.18.0.{number + 1}"}}
        for number in range(count)
    ]
    for user in users:
        client.call("AuthService.Register", {**user, "name": "A User"})
    with ThreadPoolExecutor(count) as pool:
        calls, most = [pool.submit(client.call, "AuthService.Login", user) for user in users], 0
        while not all(call.done() for call in calls):
            most = max(most, running(ops))
            time.sleep(0.01)
    client.close()
    assert all(call.result()["signed_in"]["tokens"]["access_token"] for call in calls)
    return most


def running(ops):
    with urllib.request.urlopen(f"http://{ops}/metrics", timeout=10) as answer:
        return int(RUNNING.search(answer.read().decode())[1])


class InImage(Container):
    """A container of the chart in the image: nothing but ports is replaced."""

    def popen(self, arguments, **streams):
        mounts = [(self.host.path(path), path) for path in (mount["mountPath"] for mount in self.container.get("volumeMounts", []))]
        return self.binary.popen(arguments, mounts, self.host.environment(self.container), **streams)


def prove_limits(image, wanted, users):
    """The image alone, with its default settings, inside the chart's limits."""
    cores = min(MOST_HASHED, len(os.sched_getaffinity(0)), max(1, int(quantity(wanted["cpu"]))))
    volume, log_file = (image.directory / f"{name}-{wanted['cpu']}" for name in ("volume", "log"))
    address, ops = (f"127.0.0.1:{free_port()}" for _ in range(2))
    shutil.copytree(image.root + DATA, volume)
    shutil.chown(volume, 65532, 65532)
    environment = {"COUNTERSIGN_LISTEN": address, "COUNTERSIGN_OPS_LISTEN": ops}
    limits = Limits(wanted)
    with open(log_file, "ab") as log:
        process = image.popen([], [(volume, DATA)], environment, limits, stdout=log, stderr=log)
    try:
        until("it serves", lambda: serving(address) or process.poll() is not None)
        owners = {path.name: path.stat().st_uid for path in volume.iterdir()}
        assert set(owners.values()) == {65532} and "countersign.db" in owners, owners
        print("ok   it serves as its user, with a read-only root, and its files are in the volume")
        most = sign_in_at_once(address, ops, users)
        assert most == cores, f"{most} passwords were hashed at a time, and the limit is {wanted['cpu']} cores"
        print(f"ok   {users} users sign in at once within {wanted}: {most} hashed at a time, {limits.report()}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "it did not end well"
        print("ok   it ends at SIGTERM")
    except Exception:
        print(log_file.read_text(errors="replace")[-4000:])
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        limits.remove()


def main():
    image = Image(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
    try:
        wanted = check_settings(image.settings)
        print(f"ok   the image has its user, volume, stop signal and labels; its root has {sh('du', '-sh', image.root).split()[0]}")
        prove_limits(image, wanted, USERS)
        prove_limits(image, wanted | {"cpu": "1"}, USERS_OF_ONE_CORE)
        walk("default.yaml", image, generated, kind=InImage, keeps_paths=True)
    finally:
        image.remove()


if __name__ == "__main__":
    main()
