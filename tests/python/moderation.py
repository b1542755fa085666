"""Violations, bans and limits."""

from world import expect, refused


def check(w, **who):
    return w.client.call("ModerationService.CheckAccess", who)


def violate(w, score, request_id):
    body = {"type": "message_limit", "user_id": w.carol["id"], "score": score, "request_id": request_id}
    return w.client.call("ModerationService.RecordViolation", body)


def violations_add_up_and_a_repeated_one_counts_once(w):
    w.carol_password = w.new_password("carol")
    w.carol = w.register("carol", w.carol_password)
    w.carol_tokens = w.login("carol", w.carol_password)["tokens"]
    expect(check(w, user_id=w.carol["id"])["allowed"], "banned before")
    first, again = violate(w, 10, "walk-1"), violate(w, 10, "walk-1")
    expect((first["previous_score"], first["score"], first["bans"]) == (0, 10, []) and again == first, first, again)


def crossing_the_interval_bans_the_user_everywhere(w):
    expect(w.verify(w.carol_tokens["access_token"])["active"], "inactive before")
    answer = violate(w, 10, "walk-2")
    w.ban = answer["ban"]
    expect(answer["score"] == 20 and [ban["id"] for ban in answer["bans"]] == [w.ban["id"]], answer)
    expect(w.ban["target"] == {"user_id": w.carol["id"]} and w.ban["reason"] == "message_limit" and w.ban["expire_time"], w.ban)
    seen = check(w, user_id=w.carol["id"])
    expect(not seen["allowed"] and seen["ban"]["id"] == w.ban["id"], seen)
    token = w.verify(w.carol_tokens["access_token"])
    expect(not token["active"] and token["inactive_reason"] == "INACTIVE_REASON_BANNED", token)
    refused(w.refresh_fails(w.carol_tokens["refresh_token"]), "PERMISSION_DENIED", "BANNED")
    refused(w.client.fails("TokenService.MintSession", {"user_id": w.carol["id"]}), "PERMISSION_DENIED", "BANNED")


def a_banned_user_learns_it_after_the_right_password(w):
    def login(password):
        return w.client.fails("AuthService.Login", {"email": "carol@walk.example", "password": password, "client": w.connection()})

    refused(login("not-the-password-1"), "UNAUTHENTICATED", "CREDENTIALS_WRONG")
    refused(login(w.carol_password), "PERMISSION_DENIED", "BANNED")


def a_lifted_ban_is_gone_but_its_sessions_stay_ended(w):
    bans = w.client.call("ModerationService.ListBans")["bans"]
    expect(w.ban["id"] in [ban["id"] for ban in bans], bans)
    w.client.call("ModerationService.LiftBan", {"ban_id": w.ban["id"]})
    expect(check(w, user_id=w.carol["id"])["allowed"], "still banned")
    bans = w.client.call("ModerationService.ListBans")["bans"]
    expect(w.ban["id"] not in [ban["id"] for ban in bans], bans)
    refused(w.client.fails("ModerationService.LiftBan", {"ban_id": w.ban["id"]}), "NOT_FOUND", "BAN_NOT_FOUND")
    refused(w.refresh_fails(w.carol_tokens["refresh_token"]), "UNAUTHENTICATED", "SESSION_REVOKED")
    w.carol_tokens = w.login("carol", w.carol_password)["tokens"]


def a_range_of_addresses_is_banned(w):
    body = {"cidr": "198.51.100.0/24", "duration": "3600s", "reason": "walk"}
    ban = w.client.call("ModerationService.BanTarget", body)["ban"]
    expect(ban["target"] == {"cidr": "198.51.100.0/24"} and ban["reason"] == "walk", ban)
    expect(not check(w, ip_address="198.51.100.77")["allowed"], "the address is allowed")
    expect(not check(w, ip_address="::ffff:198.51.100.77")["allowed"], "its mapped form is allowed")
    expect(check(w, ip_address="198.51.101.77")["allowed"], "a neighbour is banned")
    body = {"email": "dora@walk.example", "password": w.new_password("dora"), "name": "Dora Walker"}
    refused(w.client.fails("AuthService.Register", {**body, "client": w.connection("198.51.100.78")}), "PERMISSION_DENIED", "BANNED")


def too_many_logins_from_an_address_have_to_wait(w):
    body = {"email": "bob@walk.example", "password": "not-the-password-1", "client": w.connection("192.0.2.10")}
    failures = [w.client.fails("AuthService.Login", body) for _ in range(8)]
    for failure in failures[:7]:
        refused(failure, "UNAUTHENTICATED", "CREDENTIALS_WRONG")
    refused(failures[7], "RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    expect(failures[7].retry_seconds and 0 < failures[7].retry_seconds <= 300, failures[7])
    w.login("bob", w.bob_password)


def bad_requests_are_refused_by_field(w):
    failure = refused(w.client.fails("ModerationService.CheckAccess", {"ip_address": "nowhere"}), "INVALID_ARGUMENT", "FIELDS_INVALID")
    expect(failure.fields == ["ip_address"], failure)
    body = {"type": "NOT A TYPE", "user_id": w.bob["id"], "score": 1001}
    failure = refused(w.client.fails("ModerationService.RecordViolation", body), "INVALID_ARGUMENT", "FIELDS_INVALID")
    expect(set(failure.fields) == {"type", "score"}, failure)


STEPS = [
    violations_add_up_and_a_repeated_one_counts_once,
    crossing_the_interval_bans_the_user_everywhere,
    a_banned_user_learns_it_after_the_right_password,
    a_lifted_ban_is_gone_but_its_sessions_stay_ended,
    a_range_of_addresses_is_banned,
    too_many_logins_from_an_address_have_to_wait,
    bad_requests_are_refused_by_field,
]
