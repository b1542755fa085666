"""Generates code for Python, Go and Node.js with the commands of README.md, and runs a client of each; then lets JWT libraries of Python
and Go verify tokens with the public keys alone: `check.py BINARY`.

Each client runs twice: at a service without callers, and as a caller with a JWT, at a service that knows it.
"""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jwt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORK = ROOT / ".cache" / "clients"
sys.path.insert(0, str(ROOT / "tests" / "python"))

from document import blocks, section  # noqa: E402
from service import Service, free_port  # noqa: E402

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


def encode(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def openssl(*arguments, given=b""):
    return subprocess.run(["openssl", *arguments], input=given, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def issue(directory):
    """An issuer's key in a JWK set, a callers' file that names it, and the file with a caller's token."""
    key, keys, callers, token = (directory / name for name in ("issuer.pem", "keys.json", "callers.yaml", "token"))
    openssl("genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    modulus = openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().removeprefix("Modulus=")
    jwk = {"kty": "RSA", "kid": "issuer", "use": "sig", "n": encode(bytes.fromhex(modulus)), "e": "AQAB"}
    keys.write_text(json.dumps({"keys": [jwk]}))
    subject = {"issuer": "https://issuer.example", "audience": "countersign", "subject": "system:serviceaccount:chat:backend"}
    permissions = ["auth.sign_in", "token.verify", "federation.resolve", "federation.inline"]
    caller = {"name": "backend", "jwt": {**subject, "jwks_file": str(keys)}, "permissions": permissions}
    callers.write_text(json.dumps({"callers": [caller]}))
    now = int(time.time())
    claims = {"iss": subject["issuer"], "aud": [subject["audience"]], "sub": subject["subject"], "iat": now, "exp": now + 3600}
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "issuer"}, claims))
    token.write_text(f"{signed}.{encode(openssl('dgst', '-sha256', '-sign', key, given=signed.encode()))}\n")
    return callers, token


def check(name, said):
    """What a client printed: a verified token, the user's address, and a refusal with its reason."""
    active, user, refused = said.splitlines()
    address = {"client.py": "python", "main.go": "go", "client.mjs": "node"}[name] + "@example.com"
    assert active in ("active: True for 5 seconds", "active: true for 5 seconds"), said
    assert user == f"X-User: {address}", said
    assert refused.startswith(f"refused: {REFUSED[name]} ") and "NOT_FEDERATED" in refused, said
    print(f"ok   {name}")


def verify_alone(binary, algorithm):
    """Tokens before and after a rotation, and one that was exchanged, by libraries that know the ops listener and the issuer."""
    issuer, ops = "http://localhost:3080", f"127.0.0.1:{free_port()}"
    service = Service(binary, COUNTERSIGN_OPS_LISTEN=ops, COUNTERSIGN_TOKEN_ALG=algorithm)
    try:
        service.start()
        client = {"ip_address": "203.0.113.7"}
        account = {"email": "ann@example.com", "password": "kestrel lantern orbit", "name": "Ann", "client": client}
        user = service.client.call("AuthService.Register", account)["user"]["id"]

        def token():
            return service.client.call("TokenService.MintSession", {"user_id": user})["tokens"]["access_token"]

        old = token()
        service.client.call("TokenService.RotateSigningKey", {})
        handed = {"access_token": old, "scopes": ["federation.resolve"]}
        exchanged = service.client.call("TokenService.ExchangeToken", handed)["access_token"]
        for access_token in (old, token()):
            for command, cwd in (([sys.executable, HERE / "verify.py"], WORK), (["go", "run", "./verify"], WORK / "go")):
                lines = run(*command, f"http://{ops}", issuer, access_token, exchanged, cwd=cwd).splitlines()
                verified, forged, narrow = lines
                assert verified == f"user: {user} by {algorithm}" and "signature" in forged.lower(), lines
                assert narrow == "refused: good for its scopes alone", lines
        print(f"ok   verify.py and verify/main.go with {algorithm}")
    finally:
        service.kill()
        service.remove()


def verify_with_secret(binary):
    """A token that is signed with LibreChat's secret, as a backend of LibreChat reads it."""
    secret = secrets.token_hex(32)
    service = Service(binary, COUNTERSIGN_TOKEN_ALG="HS256", JWT_SECRET=secret)
    try:
        service.start()
        client = {"ip_address": "203.0.113.7"}
        account = {"email": "ann@example.com", "password": "kestrel lantern orbit", "name": "Ann", "client": client}
        user = service.client.call("AuthService.Register", account)["user"]
        minted = service.client.call("TokenService.MintSession", {"user_id": user["id"]})["tokens"]["access_token"]
        issuer = "http://localhost:3080"
        claims = jwt.decode(minted, secret, algorithms=["HS256"], audience=issuer, issuer=issuer)
        told = [claims[name] for name in ("id", "sub", "username", "provider", "email")]
        assert told == [user["id"], user["id"], user["username"], "local", "ann@example.com"], claims
        print("ok   PyJWT with LibreChat's secret")
    finally:
        service.kill()
        service.remove()


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    generate()
    callers, token = issue(WORK)
    for settings, token_file in (({}, []), ({"COUNTERSIGN_CALLERS": str(callers)}, [token])):
        service = Service(sys.argv[1], **settings)
        try:
            service.start()
            arguments = [service.address, *token_file]
            check("client.py", run(sys.executable, HERE / "client.py", *arguments, PYTHONPATH=str(WORK / "gen" / "python")))
            check("main.go", run("go", "run", ".", *arguments, cwd=WORK / "go"))
            check("client.mjs", run("node", "client.mjs", *arguments, cwd=WORK / "node"))
        finally:
            service.kill()
            service.remove()
    for algorithm in ("EdDSA", "ES256"):
        verify_alone(sys.argv[1], algorithm)
    verify_with_secret(sys.argv[1])
    print("9 passed, 0 failed")


if __name__ == "__main__":
    main()
