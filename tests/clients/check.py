"""Generates code for Python, Go and Node.js as README.md says, and runs a client of each against a binary: `check.py BINARY`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".cache" / "clients"
sys.path.insert(0, str(ROOT / "tests" / "python"))

from service import Service  # noqa: E402

PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2")
REFUSED = {"client.py": "FAILED_PRECONDITION", "main.go": "FailedPrecondition", "client.mjs": "FailedPrecondition"}


def run(*command, cwd=WORK, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}\n0 passed, 1 failed")
    return done.stdout


def generate():
    """The code for all three languages, in gen/python, go/gen and node/gen below WORK."""
    for name in ("gen", "go", "node/gen"):
        shutil.rmtree(WORK / name, ignore_errors=True)
    shutil.copytree(HERE / "go", WORK / "go")
    shutil.copytree(HERE / "node", WORK / "node", dirs_exist_ok=True)
    run("npm", "ci", "--loglevel=error", cwd=WORK / "node")
    for plugin in PLUGINS:
        run("go", "install", plugin, GOBIN=str(WORK / "bin"))
    plugins = (WORK / "bin", WORK / "node" / "node_modules" / ".bin", Path(os.environ["PATH"]))
    buf = ROOT / "tests" / "oidc" / "node_modules" / ".bin" / "buf"
    template = ROOT / "proto" / "buf.gen.yaml"
    run(buf, "generate", ROOT / "proto", "--template", template, PATH=os.pathsep.join(map(str, plugins)))
    (WORK / "gen" / "go").rename(WORK / "go" / "gen")
    (WORK / "gen" / "node").rename(WORK / "node" / "gen")

    out = WORK / "gen" / "python"
    out.mkdir()
    protos = sorted((ROOT / "proto" / "countersign" / "v1").glob("*.proto"))
    outs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    run(sys.executable, "-m", "grpc_tools.protoc", "-I", ROOT / "proto", *outs, *protos)


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
