"""Refreshing, listing and ending sessions."""

from world import at_once, expect, refused


def refresh_gives_the_next_pair_of_the_same_session(w):
    before = w.ann_tokens
    after = w.ann_tokens = w.refresh(before["refresh_token"])
    expect(after["refresh_token"] != before["refresh_token"] and after["access_token"] != before["access_token"], "the same tokens")
    expect(after["session_id"] == before["session_id"], after["session_id"], before["session_id"])
    expect(after["refresh_expire_time"] == before["refresh_expire_time"], after["refresh_expire_time"], before["refresh_expire_time"])
    expect(w.verify(after["access_token"])["active"], "inactive")
    w.ann_previous = before["refresh_token"]


def the_token_before_gets_the_same_successor(w):
    again = w.refresh(w.ann_previous)
    expect(again["refresh_token"] == w.ann_tokens["refresh_token"], "another successor")
    expect(w.verify(again["access_token"])["active"], "inactive")


def twenty_refreshes_at_once_give_one_successor(w):
    tokens = w.login("ann", w.ann_password)["tokens"]
    w.client.stub("TokenService.RefreshSession")
    successors = {tokens["refresh_token"] for tokens in at_once(lambda _: w.refresh(tokens["refresh_token"]))}
    expect(len(successors) == 1, f"{len(successors)} successors")
    after = w.refresh(successors.pop())
    expect(after["session_id"] == tokens["session_id"], after["session_id"])


def a_spent_token_ends_its_session(w):
    first = w.login("ann", w.ann_password)["tokens"]
    second = w.refresh(first["refresh_token"])
    third = w.refresh(second["refresh_token"])
    refused(w.refresh_fails(first["refresh_token"]), "UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")
    refused(w.refresh_fails(third["refresh_token"]), "UNAUTHENTICATED", "SESSION_REVOKED")
    answer = w.verify(third["access_token"])
    expect(answer["inactive_reason"] == "INACTIVE_REASON_SESSION_REVOKED", answer)


def a_forged_refresh_token_changes_nothing(w):
    good = w.ann_tokens["refresh_token"]
    middle = len(good) // 2
    forged = good[:middle] + ("a" if good[middle] != "a" else "b") + good[middle + 1 :]
    for bad in (forged, good[:-1], "csr_", "x"):
        refused(w.refresh_fails(bad), "UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    w.ann_tokens = w.refresh(good)


def a_session_is_minted_once_a_request_id(w):
    body = {"user_id": w.bob["id"], "client": w.connection(), "request_id": "walk-mint-1", "ttl": "600s"}
    first, again = (w.client.call("TokenService.MintSession", body) for _ in range(2))
    w.keep(first["tokens"]), w.keep(again["tokens"])
    expect(first["user"]["id"] == w.bob["id"], first["user"])
    expect(first["tokens"]["session_id"] == again["tokens"]["session_id"], first["tokens"]["session_id"], again["tokens"]["session_id"])
    claims = w.verify(first["tokens"]["access_token"])["claims"]
    expect(claims["amr"] == ["caller"] and claims["provider"] == "caller", claims)


def sessions_are_listed_and_ended_one_by_one_or_together(w):
    one, two, three = (w.login("bob", w.bob_password)["tokens"] for _ in range(3))
    subject = {"access_token": one["access_token"]}

    def live():
        return {session["id"] for session in w.client.call("TokenService.ListSessions", {"subject": subject})["sessions"]}

    expect({tokens["session_id"] for tokens in (one, two, three)} <= live(), live())
    w.client.call("TokenService.RevokeSession", {"session_id": two["session_id"], "subject": subject})
    w.client.call("TokenService.RevokeSession", {"session_id": two["session_id"], "subject": subject})
    expect(two["session_id"] not in live() and not w.verify(two["access_token"])["active"], live())
    others = len(live()) - 1
    answer = w.client.call("TokenService.RevokeUserSessions", {"subject": subject, "except_session_id": one["session_id"]})
    expect(answer["revoked_count"] == others and live() == {one["session_id"]}, answer, others, live())
    refused(w.refresh_fails(three["refresh_token"]), "UNAUTHENTICATED", "SESSION_REVOKED")
    answer = w.client.call("TokenService.RevokeUserSessions", {"subject": {"user_id": w.bob["id"]}})
    expect(answer["revoked_count"] == 1 and not w.verify(one["access_token"])["active"], answer)


def another_users_session_is_out_of_reach(w):
    bob = w.login("bob", w.bob_password)["tokens"]
    body = {"session_id": w.ann_tokens["session_id"], "subject": {"access_token": bob["access_token"]}}
    w.client.call("TokenService.RevokeSession", body)
    expect(w.verify(w.ann_tokens["access_token"])["active"], "ended by another user")


def logout_ends_the_session_at_once(w):
    tokens = w.login("ann", w.ann_password)["tokens"]
    expect(w.verify(tokens["access_token"])["active"], "inactive before")
    for _ in range(2):
        w.client.call("AuthService.Logout", {"refresh_token": tokens["refresh_token"]})
    answer = w.verify(tokens["access_token"])
    expect(not answer["active"] and answer["inactive_reason"] == "INACTIVE_REASON_SESSION_REVOKED", answer)
    refused(w.refresh_fails(tokens["refresh_token"]), "UNAUTHENTICATED", "SESSION_REVOKED")


STEPS = [
    refresh_gives_the_next_pair_of_the_same_session,
    the_token_before_gets_the_same_successor,
    twenty_refreshes_at_once_give_one_successor,
    a_spent_token_ends_its_session,
    a_forged_refresh_token_changes_nothing,
    a_session_is_minted_once_a_request_id,
    sessions_are_listed_and_ended_one_by_one_or_together,
    another_users_session_is_out_of_reach,
    logout_ends_the_session_at_once,
]
