"""The real OpenID provider of tests/oidc as a child process."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent.parent / "oidc"
CLIENT_ID = "countersign"
CLIENT_SECRET = "countersign-client-secret-of-the-tests"


class Provider:
    """Runs until `close`; settings are those of tests/oidc/settings.mjs."""

    def __init__(self, log, **settings):
        environment = {**os.environ, "OIDC_SETTINGS": json.dumps({**settings, "exit_with_stdin": True})}
        self.process = subprocess.Popen(
            ["node", "provider.mjs"], cwd=DIRECTORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the provider did not start (exit code {self.process.wait()}); its log: {log.name}")
        self.issuer = json.loads(line)["issuer"]

    def control(self, name, body=None):
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"{self.issuer}/control/{name}", data), timeout=10) as answer:
            return json.load(answer)

    def stats(self):
        """Counts of requests, successes and failures at the token endpoint by grant type, and of other requests."""
        return self.control("stats")

    def refreshes(self):
        return self.stats()["requests"].get("refresh_token", 0)

    def fail(self, **fault):
        """Sets the fault of the token endpoint (control.mjs says which); without arguments none."""
        return self.control("fail", fault)

    def change(self, **settings):
        """Changes settings such as `access_token_ttl` from now on."""
        return self.control("settings", settings)

    def environment(self):
        """What the service needs to use this provider."""
        return {
            "ALLOW_SOCIAL_LOGIN": "true",
            "OPENID_ISSUER": self.issuer,
            "OPENID_CLIENT_ID": CLIENT_ID,
            "OPENID_CLIENT_SECRET": CLIENT_SECRET,
            "OPENID_SESSION_SECRET": "a-session-secret-of-the-tests-0123456789",
            "OPENID_SCOPE": "openid profile email",
            "OPENID_CALLBACK_URL": "/oauth/openid/callback",
            "DOMAIN_SERVER": "http://localhost:3080",
            "DOMAIN_CLIENT": "http://localhost:3080",
        }

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
