"""How the provider's tokens are kept, renewed and forgotten."""

from federated import BEARER, asks_the_provider
from service import until
from world import at_once, expect, refused

NOW_ENDING = 20  # seconds; with less than 30 left a token counts as expired
LASTING = 3600


def stale_login(w, login="gus"):
    """A session whose provider token counts as expired, at a provider whose next one lasts."""
    w.provider.change(access_token_ttl=NOW_ENDING)
    tokens = w.federated(login)["signed_in"]["tokens"]
    w.provider.change(access_token_ttl=LASTING)
    return tokens["access_token"]


def status(w, access_token):
    return w.client.call("FederationService.GetTokenStatus", {"subject": {"access_token": access_token}})["tokens"]


def the_status_tells_what_is_held_and_no_token(w):
    tokens = status(w, w.fay_tokens["access_token"])
    said = {(token["provider"], token["kind"], token["state"]) for token in tokens}
    expect(said == {("openid", kind, "FEDERATED_TOKEN_STATE_ACTIVE") for kind in ("FEDERATED_TOKEN_KIND_ACCESS", "FEDERATED_TOKEN_KIND_ID")}, tokens)
    access = next(token for token in tokens if token["kind"] == "FEDERATED_TOKEN_KIND_ACCESS")
    expect(access["refreshable"] and access["expire_time"] and "openid" in access["scopes"], access)


def an_expired_token_is_refreshed_once_for_twenty_calls(w):
    access = stale_login(w)
    before = w.provider.refreshes()
    w.client.stub("FederationService.ResolvePlaceholders")
    tokens = set(at_once(lambda _: w.provider_token(access)))
    expect(len(tokens) == 1, f"{len(tokens)} tokens")
    expect(asks_the_provider(w, tokens.pop()) == "gus", "the provider does not know the token")
    expect(w.provider.refreshes() == before + 1, w.provider.stats(), before)
    w.provider_token(access)
    expect(w.provider.refreshes() == before + 1, w.provider.stats(), before)


def a_cancelled_call_does_not_end_its_refresh(w):
    access = stale_login(w)
    before = w.provider.refreshes()
    w.provider.fail(grant_type="refresh_token", delay_ms=1500, times=1)
    body = {"subject": {"access_token": access}, "sink": "SINK_HEADER", "entries": {"Authorization": BEARER}}
    failure = w.client.fails("FederationService.ResolvePlaceholders", body, timeout=0.5)
    expect(failure.code == "DEADLINE_EXCEEDED", failure)
    until("the refresh was asked for", lambda: w.provider.refreshes() == before + 1)
    expect(asks_the_provider(w, w.provider_token(access)) == "gus", "the provider does not know the token")
    expect(w.provider.refreshes() == before + 1, w.provider.stats(), before)


def a_refused_refresh_asks_for_a_new_sign_in(w):
    access = stale_login(w)
    w.provider.fail(grant_type="refresh_token", status=400, error="invalid_grant", times=1)
    failure = refused(w.resolve_fails(access, {"Authorization": BEARER}), "FAILED_PRECONDITION", "RECONNECT_REQUIRED")
    expect(failure.entries == ["Authorization"], failure)
    tokens = status(w, access)
    expect({token["state"] for token in tokens} == {"FEDERATED_TOKEN_STATE_RECONNECT_REQUIRED"}, tokens)
    before = w.provider.refreshes()
    refused(w.resolve_fails(access, {"Authorization": BEARER}), "FAILED_PRECONDITION", "RECONNECT_REQUIRED")
    expect(w.provider.refreshes() == before, w.provider.stats(), before)
    expect(w.provider_token(w.federated("gus")["signed_in"]["tokens"]["access_token"]), "no token after a new sign-in")


def a_life_that_cannot_be_had_is_refused_and_no_loop(w):
    access = w.federated("gus")["signed_in"]["tokens"]["access_token"]
    before = w.provider.refreshes()
    refused(w.resolve_fails(access, {"Authorization": BEARER}, min_ttl="86400s"), "FAILED_PRECONDITION", "TOKEN_EXPIRED")
    expect(w.provider.refreshes() <= before + 1, w.provider.stats(), before)


def deleted_tokens_are_gone_and_only_those(w):
    access, other = (w.federated("hal")["signed_in"]["tokens"]["access_token"] for _ in range(2))
    w.provider_token(access)
    w.client.call("FederationService.DeleteTokens", {"subject": {"access_token": access}})
    expect(status(w, access) == [], status(w, access))
    failure = w.resolve_fails(access, {"Authorization": BEARER})
    refused(failure, "FAILED_PRECONDITION", "VALUE_MISSING", "RECONNECT_REQUIRED", "NOT_FEDERATED")
    expect(asks_the_provider(w, w.provider_token(other)) == "hal", "the other session lost its token")


def logout_forgets_the_tokens_of_its_session_only(w):
    w.client.call("AuthService.Logout", {"refresh_token": w.fay_other["refresh_token"]})
    failure = w.resolve_fails(w.fay_other["access_token"], {"Authorization": BEARER})
    refused(failure, "UNAUTHENTICATED", "ACCESS_TOKEN_INVALID")
    expect(asks_the_provider(w, w.provider_token(w.fay_tokens["access_token"])) == "fay", "the other session lost its token")


def a_ban_ends_the_users_tokens(w):
    done = w.federated("ida")["signed_in"]
    user, access = done["user"]["id"], done["tokens"]["access_token"]
    ban = w.client.call("ModerationService.BanTarget", {"user_id": user, "reason": "walk"})["ban"]
    refused(w.resolve_fails(access, {"Authorization": BEARER}), "PERMISSION_DENIED", "BANNED")
    w.client.call("ModerationService.LiftBan", {"ban_id": ban["id"]})
    refused(w.resolve_fails(access, {"Authorization": BEARER}), "UNAUTHENTICATED", "ACCESS_TOKEN_INVALID")


STEPS = [
    the_status_tells_what_is_held_and_no_token,
    an_expired_token_is_refreshed_once_for_twenty_calls,
    a_cancelled_call_does_not_end_its_refresh,
    a_refused_refresh_asks_for_a_new_sign_in,
    a_life_that_cannot_be_had_is_refused_and_no_loop,
    deleted_tokens_are_gone_and_only_those,
    logout_forgets_the_tokens_of_its_session_only,
    a_ban_ends_the_users_tokens,
]
