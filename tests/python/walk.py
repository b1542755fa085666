"""Walks the whole main job against the release binary: `walk.py [path of the binary]`.

Knows the service by reflection alone, starts it in an empty directory with the default configuration, and signs users in at a real
OpenID provider. One line a step, and a count at the end.
"""

import sys
import tempfile
import time
import traceback

import accounts
import federated
import metrics
import moderation
import provider_tokens
import recovery
import sessions
import wire
from client import Failure
from provider import CLIENT_SECRET, Provider
from service import Service
from world import World

PARTS = (accounts, sessions, federated, provider_tokens, moderation, metrics, wire, recovery)
USERS = {"impostor": {"email": "ann@walk.example"}}


def run(step, world):
    """One step: whether it passed."""
    name = f"{step.__module__}: {step.__name__.replace('_', ' ')}"
    began = time.monotonic()
    try:
        note = step(world)
    except Exception as failure:  # a failed step is told, and the walk goes on
        print(f"FAIL {name}\n     {type(failure).__name__}: {failure}")
        if not isinstance(failure, (AssertionError, Failure)):
            print("     " + traceback.format_exc(limit=-3).replace("\n", "\n     ").rstrip())
        revive(world)
        return False
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    print(f"ok   {name} ({', '.join(filter(None, (took, note)))})", flush=True)
    return True


def revive(world):
    """The next step needs a running service, and a provider without faults."""
    world.provider.fail()
    if world.client is None or world.service.process.poll() is not None:
        try:
            world.service.start()
        except AssertionError as failure:
            print(f"     and it does not start any more: {failure}")


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/release/countersign"
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        provider = Provider(log, users=USERS)
        templates = {"COUNTERSIGN_TEMPLATE_ENV": "WALK_REGION", "WALK_REGION": "eu-north"}
        environment = {**provider.environment(), **templates, "COUNTERSIGN_LOG": "debug"}
        world = World(Service(binary, **environment), provider)
        world.secret("the client secret", CLIENT_SECRET)
        results = []
        try:
            took = world.service.start()
            print(f"ok   SERVING after {took * 1000:.0f} ms", flush=True)
            results = [run(step, world) for part in PARTS for step in part.STEPS]
        finally:
            world.close(keep=not results or not all(results))
    failed = results.count(False)
    if failed:
        print(f"what it left is in {world.service.directory}")
    print(f"{results.count(True)} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
