"""What the steps of the walk share: the service, the provider, who exists, and the secrets that must not be found anywhere."""

import itertools
import secrets
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from browser import sign_in
from service import Service

PARALLEL = 20


def expect(condition, *seen):
    """Fails with what was seen."""
    if not condition:
        raise AssertionError("seen: " + ", ".join(repr(thing) for thing in seen))


def refused(failure, code, *reasons):
    """A failure has this code and one of these reasons, in the service's domain."""
    expect(failure.code == code and failure.reason in reasons and failure.domain == "countersign.v1", failure, failure.domain)
    return failure


def at_once(work, count=PARALLEL):
    """`work` in so many threads that begin together: their answers."""
    gate = Barrier(count)

    def one(index):
        gate.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class World:
    def __init__(self, service, provider):
        self.service, self.provider = service, provider
        self.secrets = {}
        self.numbers, self.others = itertools.count(), []

    def __getattr__(self, name):
        raise AssertionError(f"an earlier step left no {name}")

    @property
    def client(self):
        return self.service.client

    def connection(self, address=None):
        """The end user's connection; each from an address of its own, so that no limit is met by accident."""
        number = next(self.numbers)
        address = address or f"198.18.{number // 250}.{number % 250 + 1}"
        return {"ip_address": address, "user_agent": "walk/1", "device_name": "walk"}

    def new_service(self, start=True, **environment):
        """Another service with an empty store; it ends with the walk."""
        other = Service(self.service.binary, **environment)
        self.others.append(other)
        if start:
            other.start()
        return other

    def close(self, keep):
        """Ends everything; `keep` leaves the directories to look at."""
        for service in (self.service, *self.others):
            if service.process and service.process.poll() is None:
                service.kill()
            if not keep:
                service.remove()
        self.provider.close()

    def secret(self, what, value):
        """Remembers a value that must be found neither in the log nor in the database."""
        self.secrets[value] = what
        return value

    def new_password(self, name):
        return self.secret(f"{name}'s password", f"Lantern-{secrets.token_hex(8)}-kite")

    def keep(self, tokens):
        """Remembers the secrets of a token pair."""
        self.secret("a refresh token", tokens["refresh_token"])
        self.secret("an access token", tokens["access_token"])
        return tokens

    def register(self, name, password):
        body = {"email": f"{name}@walk.example", "password": password, "name": f"{name.title()} Walker", "username": name}
        return self.client.call("AuthService.Register", {**body, "client": self.connection()})["user"]

    def login(self, name, password):
        body = {"email": f"{name}@walk.example", "password": password, "client": self.connection()}
        signed_in = self.client.call("AuthService.Login", body)["signed_in"]
        self.keep(signed_in["tokens"])
        return signed_in

    def refresh(self, refresh_token):
        body = {"refresh_token": refresh_token, "client": self.connection()}
        return self.keep(self.client.call("TokenService.RefreshSession", body)["tokens"])

    def refresh_fails(self, refresh_token):
        return self.client.fails("TokenService.RefreshSession", {"refresh_token": refresh_token, "client": self.connection()})

    def verify(self, access_token, **more):
        return self.client.call("TokenService.VerifyToken", {"access_token": access_token, **more})

    def begin(self, **more):
        begun = self.client.call("AuthService.BeginFederatedLogin", {"provider": "openid", "client": self.connection(), **more})
        self.secret("a binding token", begun["binding_token"])
        return begun

    def completion(self, begun, callback, **more):
        """The request that completes a federated login."""
        return {"provider": "openid", **callback, "binding_token": begun["binding_token"], "client": self.connection(), **more}

    def federated(self, login, **more):
        """A whole federated login through the provider's forms."""
        begun = self.begin(**more)
        callback = sign_in(begun["authorization_url"], login)
        self.secret("a code", callback["code"])
        done = self.client.call("AuthService.CompleteFederatedLogin", self.completion(begun, callback))
        self.keep(done["signed_in"]["tokens"])
        return done

    def resolve(self, access_token, entries, sink="SINK_HEADER", **more):
        body = {"subject": {"access_token": access_token}, "sink": sink, "entries": entries, **more}
        return self.client.call("FederationService.ResolvePlaceholders", body)

    def resolve_fails(self, access_token, entries, sink="SINK_HEADER", **more):
        body = {"subject": {"access_token": access_token}, "sink": sink, "entries": entries, **more}
        return self.client.fails("FederationService.ResolvePlaceholders", body)

    def provider_token(self, access_token):
        """The provider's access token, as a header would carry it."""
        return self.secret("a provider's token", self.resolve(access_token, {"t": "{{LIBRECHAT_OPENID_TOKEN}}"})["entries"]["t"])


def query(url):
    return dict(urllib.parse.parse_qsl(urllib.parse.urlparse(url).query))
