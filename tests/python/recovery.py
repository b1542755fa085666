"""Crashes, stops, restores and lost keys."""

from threading import Thread

from federated import BEARER
from provider_tokens import stale_login
from service import DATABASE, KEY, until
from world import expect, refused

# A value as short as this could be found by chance.
SHORTEST_SECRET = 8


def sessions_and_bans_outlive_kill_9(w):
    w.ann_tokens = w.refresh(w.ann_tokens["refresh_token"])
    user = w.carol["id"]
    w.client.call("ModerationService.BanTarget", {"user_id": user, "duration": "3600s", "reason": "walk"})
    w.service.kill()
    took = w.service.start()
    expect(w.verify(w.ann_tokens["access_token"])["active"], "the session is lost")
    w.ann_tokens = w.refresh(w.ann_tokens["refresh_token"])
    expect(not w.client.call("ModerationService.CheckAccess", {"user_id": user})["allowed"], "the ban is lost")
    expect(w.provider_token(w.fay_tokens["access_token"]), "the provider's tokens are lost")
    return f"SERVING again after {took * 1000:.0f} ms"


def sigterm_lets_a_call_finish_and_exits_0(w):
    access, answers = stale_login(w, "jon"), []
    before = w.provider.refreshes()
    w.provider.fail(grant_type="refresh_token", delay_ms=1500, times=1)
    body = {"subject": {"access_token": access}, "sink": "SINK_HEADER", "entries": {"Authorization": BEARER}}

    def call(client=w.client):
        try:
            answers.append(client.call("FederationService.ResolvePlaceholders", body)["entries"]["Authorization"][:7])
        except Exception as failure:  # the thread hands on whatever it was
            answers.append(failure)

    caller = Thread(target=call)
    caller.start()
    until("the refresh was asked for", lambda: w.provider.refreshes() == before + 1)
    w.service.terminate()
    caller.join()
    expect(answers == ["Bearer "], answers)
    code = w.service.stop()
    expect(code == 0, code, w.service.log()[-2000:])
    w.service.start()
    expect(w.verify(w.ann_tokens["access_token"])["active"], "the session is lost")


def a_store_set_back_is_noticed(w):
    tokens = w.login("bob", w.bob_password)["tokens"]
    expect(w.service.stop() == 0, w.service.log()[-2000:])
    earlier = w.service.copy_store()
    w.service.start()
    later = w.refresh(w.refresh(tokens["refresh_token"])["refresh_token"])
    expect(w.service.stop() == 0, w.service.log()[-2000:])
    w.service.put_back(earlier)
    w.service.start()
    refused(w.refresh_fails(later["refresh_token"]), "FAILED_PRECONDITION", "STORE_ROLLED_BACK")
    expect(w.refresh(tokens["refresh_token"])["session_id"] == tokens["session_id"], "the store's own token is refused")


def listing(service):
    """The directory without the log and without what the engine may leave beside the database."""
    beside = {service.log_file.name, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    return {path.name: path.read_bytes() for path in service.directory.iterdir() if path.is_file() and path.name not in beside}


def a_lost_key_stops_the_start_and_creates_nothing(w):
    expect(w.service.stop() == 0, w.service.log()[-2000:])
    key = w.service.directory / KEY
    content, mode = key.read_bytes(), key.stat().st_mode & 0o777
    expect(mode == 0o600, oct(mode))
    key.unlink()
    before = listing(w.service)
    said = w.service.refuses_to_start()
    after = listing(w.service)
    expect(KEY in said and "panicked" not in said, said)
    expect(after == before, sorted(before), sorted(after), "the same names, but other content" if sorted(before) == sorted(after) else "")
    key.write_bytes(content)
    key.chmod(mode)
    w.service.start()
    expect(w.verify(w.ann_tokens["access_token"])["active"], "the session is lost")


def a_foreign_key_stops_the_start_and_creates_nothing(w):
    other = w.new_service()
    expect(other.stop() == 0, other.log()[-2000:])
    expect(w.service.stop() == 0, w.service.log()[-2000:])
    key = w.service.directory / KEY
    content = key.read_bytes()
    key.write_bytes((other.directory / KEY).read_bytes())
    before = listing(w.service)
    said = w.service.refuses_to_start()
    expect("key" in said.lower() and "panicked" not in said, said)
    expect(listing(w.service) == before, "the store or the key file was changed")
    key.write_bytes(content)
    w.service.start()
    expect(w.verify(w.ann_tokens["access_token"])["active"], "the session is lost")


def no_secret_is_in_the_log_or_the_store(w):
    expect(w.service.stop() == 0, w.service.log()[-2000:])
    places = {"log": w.service.log().encode()} | {path.name: path.read_bytes() for path in w.service.store_files()}
    known = {value: what for value, what in w.secrets.items() if len(value) >= SHORTEST_SECRET}
    found = {f"{what} in {place}" for value, what in known.items() for place, content in places.items() if value.encode() in content}
    expect(not found, sorted(found))
    expect("panicked" not in w.service.log(), w.service.log()[-2000:])
    return f"{len(known)} secrets, {sum(map(len, places.values()))} bytes"


STEPS = [
    sessions_and_bans_outlive_kill_9,
    sigterm_lets_a_call_finish_and_exits_0,
    a_store_set_back_is_noticed,
    a_lost_key_stops_the_start_and_creates_nothing,
    a_foreign_key_stops_the_start_and_creates_nothing,
    no_secret_is_in_the_log_or_the_store,
]
