"""Does what README.md says: `readme.py [path of the binary]`.

Runs the commands of the first session and of the tasks, word for word but for ports and the browser, and compares the names in the
answers with those that README shows. Calls with a caller's token and by TLS, and starts over. Loads every snippet that is configuration
with `config check`. GRPCURL is the program that README installs, from a cache whose directory has its version.
"""

import os
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from browser import sign_in
from document import README, ROOT, blocks, section
from provider import Provider
from service import Service, free_port, until

ASSIGNMENT = re.compile(r"^[A-Z][A-Z0-9_]*=", re.M)
GRPCURL = Path(os.environ.get("GRPCURL", "grpcurl"))
INSTALL = f"go install github.com/fullstorydev/grpcurl/cmd/{GRPCURL.parent.name.replace('-', '@', 1)}"
SERVED_AT = "127.0.0.1:50051"
ISSUER = "http://127.0.0.1:4000"
SECRET_FILE = "/run/secrets/openid"
MARK = "@@ end of block"
CERTIFICATES = {f"COUNTERSIGN_TLS_{name}": file for name, file in [("CERT", "server.crt"), ("KEY", "server.key"), ("CLIENT_CA", "ca.crt")]}
# How the commands that a reader types are found.
COMMANDS = 'countersign() { if [ $# = 0 ]; then set -- config check; fi; "$BINARY" "$@"; }\ncargo() { countersign; }\n'


def bash(script, directory, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=600)


def names(text):
    return set(re.findall(r'"(\w+)":', text))


class Session:
    """The commands of the first session and of the tasks, in one shell."""

    def __init__(self, service, issuer):
        self.service, self.issuer = service, issuer
        self.commands, self.checks = [], []
        text = section("## A first session", "### Configure callers")
        assert INSTALL in text, f"README installs another version: {INSTALL}"
        text = text.replace(INSTALL, f'install -D "{GRPCURL}" .cache/bin/grpcurl')
        found = blocks(text) + [("", "")]
        for (language, content), (_, shown) in zip(found, found[1:]):
            if language == "sh":
                self.add(content, shown)

    def add(self, commands, shown):
        commands = commands.replace(SERVED_AT, self.service.address).replace(ISSUER, self.issuer)
        commands = re.sub(r"^CODE=….*$", self.browser(), commands, flags=re.M)
        refused = shown.startswith("ERROR:")
        if refused:
            commands = f"if {{ {commands} }} 2>&1; then exit 1; fi\n"
        self.commands.append(f"{commands}\necho; echo '{MARK}'\n")
        expected = names(shown) if shown.lstrip().startswith("{") else set()
        self.checks.append((commands, expected, shown.split("\n  Details")[0] if refused else ""))

    def browser(self):
        url = r"$(echo \"$BEGUN\" | field authorizationUrl | sed 's/\\\\u0026/\\&/g')".replace('\\"', '"')
        return f'CODE=$("{sys.executable}" "{Path(__file__).resolve()}" sign-in "{url}")'

    def run(self):
        done = bash("set -eu\n" + "".join(self.commands), ROOT)
        answers = done.stdout.split(MARK)[:-1]
        for (commands, expected, refusal), answer in zip(self.checks, answers):
            missing = expected - names(answer)
            assert not missing, f"README shows {missing}, and the answer to this has none:\n{commands}\n{answer}"
            assert refusal in answer, f"README shows\n{refusal}\nand the answer is\n{answer}"
        assert done.returncode == 0, f"{self.checks[len(answers)][0]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return len(answers)


def is_configuration(language, content):
    return language == "" and ASSIGNMENT.match(content)


def load(content, service, secret):
    """Loads a snippet as a start would."""
    content = content.replace(SECRET_FILE, secret).replace(ISSUER, "http://127.0.0.1:4000")
    if not re.search(r"^countersign$|cargo run$", content.splitlines()[-1]):
        content = f"set -a\n{content}\nset +a\ncountersign"
    callers = str(service.directory / "callers.yaml")
    return bash(f"{COMMANDS}set -eu\n{content}", service.directory, BINARY=service.binary, COUNTERSIGN_CALLERS=callers)


def configuration(service):
    """Every snippet of settings, and the callers' file."""
    secret = service.directory / "secret"
    secret.write_text("a-client-secret-of-32-characters")
    found = blocks(README)
    (callers,) = [content for language, content in found if language == "yaml" and content.startswith("callers:")]
    (service.directory / "callers.yaml").write_text(callers)
    snippets = [content for language, content in found if is_configuration(language, content)]
    for content in snippets:
        done = load(content, service, str(secret))
        loaded = "configuration is good" in done.stdout and re.search(r"callers +chat, gateway$", done.stdout, re.M)
        assert loaded, f"{content}\n{done.stdout}\n{done.stderr}"
    # The only audience that is issued: DOMAIN_SERVER, as the chapter about providers sets it.
    (issued,) = set(re.findall(r"^DOMAIN_SERVER=(\S+)", README, re.M))
    for audiences in re.findall(r"^ +audiences: \[(.*?)\]", callers, re.M):
        assert audiences == f'"{issued}"', f"nothing issues {audiences}"
    return len(snippets) + 1


def tls():
    return blocks(section("### TLS", "### The image"))


def certificates(service):
    """The commands that make certificates: the service takes them."""
    (commands,) = [content for _, content in tls() if content.startswith("issue() {")]
    done = bash(f"set -eu\n{commands}", service.directory)
    assert done.returncode == 0, done.stderr
    done = service.run("config", "check", **CERTIFICATES)
    assert done.returncode == 0, done.stderr
    done = bash("openssl verify -purpose sslclient -CAfile ca.crt backend.crt", service.directory)
    assert done.returncode == 0, done.stdout + done.stderr


def entries(service):
    """The entries of callers with a JWT, with limits and with scopes: they load. The Kubernetes cluster is the authority of README's certificates."""
    shown = blocks(section("### Callers with JWTs", "### Generated clients"))
    shown = [content for language, content in shown if language == "yaml" and content.startswith("- name:")]
    handing = blocks(section("### Hand a user's authority on", "### Act as the user"))
    shown += [content for language, content in handing if language == "yaml"]
    assert len(shown) == 3, shown
    for content in shown:
        entry = content.replace("/etc/countersign/kubernetes", str(service.directory))
        (service.directory / "callers.yaml").write_text(f"callers:\n{entry}")
        done = service.run("config", "check", COUNTERSIGN_CALLERS=str(service.directory / "callers.yaml"))
        assert done.returncode == 0, f"{content}\n{done.stderr}"
    return len(shown)


def token_file(service):
    """The class that reads a caller's token from its file: it sends the new one once the file was replaced."""
    (shown,) = [content for language, content in blocks(section("### Callers with JWTs", "### Generated clients")) if language == "python"]
    names, path, sent = {}, service.directory / "token", []
    exec(shown.partition("\n\n\ncredentials =")[0], names)
    for keep_seconds in (0, 3600):
        plugin = names["TokenFile"](path, keep_seconds)
        for token in ("first", "second"):
            path.write_text(f"{token}\n")
            plugin(None, lambda metadata, error: sent.append((metadata, error)))
    bearers = [dict(metadata)["authorization"] for metadata, error in sent if error is None]
    assert bearers == ["Bearer first", "Bearer second", "Bearer first", "Bearer first"], sent


def consoles(service):
    """Blocks that show a command after `$` and what it prints: each line still begins with the same word."""
    shown = [content for _, content in blocks(README) if content.startswith("$ ")]
    for content in shown:
        command, _, printed = content[2:].partition("\n")
        done = bash(f'{COMMANDS}PATH="{ROOT}/.cache/bin:$PATH"\n{command.replace(SERVED_AT, service.address)}', service.directory, BINARY=service.binary)
        begins = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
        missing = {line.split()[0] for line in printed.splitlines() if line.strip()} - begins
        assert not missing, f"{command}: README shows lines that begin with {missing}; printed was\n{done.stdout}\n{done.stderr}"
    return len(shown)


def call_as_caller(service):
    """The call with a caller's token, while the callers' file of README is in force."""
    callers, (_, command) = blocks(section("### Configure callers", "### Callers with JWTs"))[1:]
    token, first = "csc_of-the-chat", re.compile(r'(?<=name: chat\n    token_sha256: \[")\w+')
    path = service.directory / "callers.yaml"
    path.write_text(first.sub(sha256(token.encode()).hexdigest(), callers[1]))
    service.environment["COUNTERSIGN_CALLERS"] = str(path)
    service.stop()
    service.start(token)
    access_token = register_and_sign_in(service, "eve@example.com")["tokens"]["access_token"]
    verify(command.replace(SERVED_AT, service.address), ROOT, token, access_token)
    return token, access_token


def verify(command, directory, token, access_token):
    """A call of VerifyToken, with what README leaves out."""
    command = command.replace("csc_…", token).replace('"…"', f'"{access_token}"')
    done = bash(f'PATH="{ROOT}/.cache/bin:$PATH"\n{command}', directory)
    assert '"active": true' in done.stdout, f"{command}\n{done.stdout}\n{done.stderr}"


def call_by_tls(service, token, access_token):
    """The calls by TLS, with a token and with a certificate, where README's certificates are."""
    calls = [content for _, content in tls() if content.startswith("grpcurl ")]
    (entries,) = [content for language, content in tls() if language == "yaml"]
    by_token = f"- {{name: backend, token_sha256: [{sha256(token.encode()).hexdigest()}], permissions: [token.verify]}}\n"
    (service.directory / "callers.yaml").write_text(f"callers:\n{by_token}{entries}")
    (service.directory / "proto").symlink_to(ROOT / "proto")
    service.stop()
    service.environment |= CERTIFICATES
    address = f"127.0.0.1:{free_port()}"
    service.spawn(address)
    until("the service serves by TLS", lambda: service.run("health", COUNTERSIGN_LISTEN=address).returncode == 0)
    host = "countersign.example.com"
    for call in calls:
        assert f" {host}:50051 " in call, call
        verify(call.replace(f"{host}:50051", f"-servername {host} {address}"), service.directory, token, access_token)
    return len(calls)


def start_over(service):
    """Deletes the store as README says: the next account is the first one again."""
    (command,) = re.findall(r"`(rm -f countersign\.db [^`]*)`", README)
    service.stop()
    done = bash(command, service.directory)
    assert done.returncode == 0, done.stderr
    left = [path.name for path in service.directory.glob("countersign.db*")]
    assert not left, f"`{command}` leaves {left}"
    service.start()
    assert register_and_sign_in(service, "ann@example.com")["user"]["role"] == "ADMIN"


def register_and_sign_in(service, email):
    user = {"email": email, "password": "kestrel lantern orbit", "client": {"ip_address": "203.0.113.7"}}
    service.client.call("AuthService.Register", {**user, "name": "A User"})
    return service.client.call("AuthService.Login", user)["signed_in"]


def main():
    if sys.argv[1:2] == ["sign-in"]:
        print(sign_in(sys.argv[2], "bea")["code"])
        return
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/countersign"
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        provider = Provider(log)
        service = Service(binary, **provider.environment())
        try:
            service.start()
            print(f"{Session(service, provider.issuer).run()} blocks of commands do what README says", flush=True)
            print(f"{configuration(service)} snippets of configuration load", flush=True)
            certificates(service)
            print("README's certificates are good", flush=True)
            print(f"{entries(service)} entries of callers load", flush=True)
            token_file(service)
            print("README's class sends the token that its file has now", flush=True)
            print(f"{consoles(service)} commands print what README shows", flush=True)
            start_over(service)
            tokens = call_as_caller(service)
            print("README's way to start over and its call with a caller's token work", flush=True)
            print(f"{call_by_tls(service, *tokens)} calls by TLS do what README says", flush=True)
        finally:
            service.kill()
            provider.close()
            service.remove()


if __name__ == "__main__":
    main()
