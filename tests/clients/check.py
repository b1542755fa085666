"""Generates code for Python, Go and Node.js with the commands of README.md, and runs a client of each: `check.py BINARY`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".cache" / "clients"
sys.path.insert(0, str(ROOT / "tests" / "python"))

from document import blocks, section  # noqa: E402
from service import Service  # noqa: E402

# The versions that README leaves open.
PLUGINS = {"google.golang.org/protobuf/cmd/protoc-gen-go": "v1.36.12", "google.golang.org/grpc/cmd/protoc-gen-go-grpc": "v1.6.2"}
REFUSED = {"client.py": "FAILED_PRECONDITION", "main.go": "FailedPrecondition", "client.mjs": "FailedPrecondition"}


def run(*command, cwd=WORK, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}\n0 passed, 1 failed")
    return done.stdout


def pinned(commands):
    """README's commands with versions: Go's plugins those above, npm's packages those of package.json."""
    package = json.loads((HERE / "node" / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    commands = re.sub(r"(\S+)@latest", lambda found: f"{found[1]}@{PLUGINS[found[1]]}", commands)
    return re.sub(r"(?<=^npm install ).*", lambda names: " ".join(f"{name}@{versions[name]}" for name in names[0].split()), commands, flags=re.M)


def generate():
    """Runs README's commands in WORK, and puts the code where the clients of Go and Node.js import it from."""
    for name in ("gen", "go", "node", "proto"):
        shutil.rmtree(WORK / name, ignore_errors=True)
    shutil.copytree(ROOT / "proto", WORK / "proto")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "node" / name, WORK)
    # Both `python` and `buf` are those that the tests have installed.
    programs = (Path(sys.executable).parent, ROOT / "tests" / "oidc" / "node_modules" / ".bin", os.environ["PATH"])
    modules = run("go", "env", "GOMODCACHE", cwd=ROOT).strip()
    environment = {"PATH": os.pathsep.join(map(str, programs)), "GOPATH": str(WORK / "go-path"), "GOMODCACHE": modules, "GOBIN": ""}
    found = [content for language, content in blocks(section("### Generated clients", "## Deployment")) if language == "sh"]
    assert len(found) == 3, found
    for content in found:
        run("bash", "-euc", pinned(content), **environment)
    shutil.copytree(HERE / "go", WORK / "go")
    shutil.move(WORK / "gen" / "go", WORK / "go" / "gen")
    (WORK / "node").mkdir()
    shutil.copy(HERE / "node" / "client.mjs", WORK / "node")
    shutil.move(WORK / "gen" / "node", WORK / "node" / "gen")


def check(name, said):
    """What a client printed: a verified token, the user's address, and a refusal with its reason."""
    active, user, refused = said.splitlines()
    address = {"client.py": "python", "main.go": "go", "client.mjs": "node"}[name] + "@example.com"
    assert active in ("active: True for 5 seconds", "active: true for 5 seconds"), said
    assert user == f"X-User: {address}", said
    assert refused.startswith(f"refused: {REFUSED[name]} ") and "NOT_FEDERATED" in refused, said
    print(f"ok   {name}")


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    generate()
    service = Service(sys.argv[1])
    try:
        service.start()
        there = service.address
        check("client.py", run(sys.executable, HERE / "client.py", there, PYTHONPATH=str(WORK / "gen" / "python")))
        check("main.go", run("go", "run", ".", there, cwd=WORK / "go"))
        check("client.mjs", run("node", "client.mjs", there, cwd=WORK / "node"))
    finally:
        service.kill()
        service.remove()
    print("3 passed, 0 failed")


if __name__ == "__main__":
    main()
