"""Sign-in through the real provider, and what its tokens are resolved into."""

import json
import urllib.error
import urllib.request

from browser import sign_in
from world import expect, query, refused

BEARER = "Bearer {{LIBRECHAT_OPENID_TOKEN}}"


def asks_the_provider(w, token):
    """Whom the provider says a token belongs to, or the status it refuses it with."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{w.provider.issuer}/me", headers={"authorization": f"Bearer {token}"})
    try:
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)["sub"]
    except urllib.error.HTTPError as error:
        return error.code


def the_provider_is_listed(w):
    providers = w.client.call("AuthService.ListProviders")["providers"]
    expect([(provider["id"], provider["kind"]) for provider in providers] == [("openid", "openid")], providers)


def a_user_signs_in_through_the_providers_forms(w):
    begun = w.begin(return_to="/c/new")
    asked = query(begun["authorization_url"])
    expect(asked["code_challenge_method"] == "S256" and asked["nonce"] and asked["state"] == begun["state"], asked)
    expect(begun["binding_token"] not in begun["authorization_url"], "the binding token is in the URL")
    callback = sign_in(begun["authorization_url"], "fay")
    expect(callback["state"] == begun["state"] and callback["iss"] == w.provider.issuer, callback)
    w.used = w.completion(begun, callback)
    done = w.client.call("AuthService.CompleteFederatedLogin", w.used)
    w.fay, w.fay_tokens = done["signed_in"]["user"], w.keep(done["signed_in"]["tokens"])
    expect(done["new_user"] and done["return_to"] == "/c/new", done["new_user"], done["return_to"])
    said = (w.fay["email"], w.fay["email_verified"], w.fay["name"], w.fay["role"], w.fay["provider"])
    expect(said == ("fay@example.org", True, "User fay", "USER", "openid"), w.fay)
    claims = w.verify(w.fay_tokens["access_token"])["claims"]
    expect((claims["provider"], claims["amr"]) == ("openid", ["fed"]), claims)


def a_state_works_once_and_only_in_its_browser(w):
    refused(w.client.fails("AuthService.CompleteFederatedLogin", w.used), "UNAUTHENTICATED", "STATE_INVALID")
    begun, other = w.begin(), w.begin()
    callback = sign_in(begun["authorization_url"], "fay")
    body = w.completion(begun, callback)
    stolen = {**body, "binding_token": other["binding_token"]}
    refused(w.client.fails("AuthService.CompleteFederatedLogin", stolen), "UNAUTHENTICATED", "BINDING_MISMATCH")
    refused(w.client.fails("AuthService.CompleteFederatedLogin", body), "UNAUTHENTICATED", "STATE_INVALID")


def a_refusal_at_the_provider_is_told_and_uses_up_the_state(w):
    begun = w.begin()
    callback = {"state": begun["state"], "error": "access_denied", "error_description": "no", "iss": w.provider.issuer}
    body = w.completion(begun, callback)
    refused(w.client.fails("AuthService.CompleteFederatedLogin", body), "UNAUTHENTICATED", "PROVIDER_REFUSED")
    refused(w.client.fails("AuthService.CompleteFederatedLogin", body), "UNAUTHENTICATED", "STATE_INVALID")


def the_same_identity_is_the_same_user(w):
    done = w.federated("fay")
    expect(not done["new_user"] and done["signed_in"]["user"]["id"] == w.fay["id"], done["signed_in"]["user"])
    w.fay_other = done["signed_in"]["tokens"]


def an_address_of_another_account_is_never_taken_over(w):
    begun = w.begin()
    body = w.completion(begun, sign_in(begun["authorization_url"], "impostor"))
    refused(w.client.fails("AuthService.CompleteFederatedLogin", body), "ALREADY_EXISTS", "EMAIL_IN_USE")


def headers_get_the_users_own_values(w):
    entries = {
        "Authorization": BEARER, "X-Access": "{{LIBRECHAT_OPENID_ACCESS_TOKEN}}", "X-Id": "{{LIBRECHAT_OPENID_ID_TOKEN}}",
        "X-Sub": "{{LIBRECHAT_OPENID_USER_ID}}", "X-Mail": "{{LIBRECHAT_OPENID_USER_EMAIL}}", "X-Name": "{{LIBRECHAT_OPENID_USER_NAME}}",
        "X-Expires": "{{LIBRECHAT_OPENID_EXPIRES_AT}}", "X-User": "{{LIBRECHAT_USER_ID}}/{{LIBRECHAT_USER_ROLE}}",
        "X-Chat": "{{LIBRECHAT_BODY_CONVERSATIONID}}", "X-Absent": "[{{LIBRECHAT_BODY_MESSAGEID}}]", "X-Own": "{{NOTE}}",
        "X-Region": "${WALK_REGION}", "X-Plain": "as it is",
    }
    more = {"body": {"conversationId": "c-9"}, "custom_vars": {"NOTE": w.secret("a custom variable", "note-5dd1c0")}}
    answer = w.resolve(w.fay_tokens["access_token"], entries, **more)
    got = answer["entries"]
    token = w.secret("the provider's access token", got.pop("X-Access"))
    w.secret("the provider's ID token", got["X-Id"])
    expect(got.pop("X-Id").count(".") == 2 and got.pop("X-Expires").isdecimal(), "the ID token's or the expiry's form")
    expect(got.pop("Authorization") == f"Bearer {token}", "Authorization")
    expect(asks_the_provider(w, token) == "fay", asks_the_provider(w, token))
    wanted = {
        "X-Sub": "fay", "X-Mail": "fay@example.org", "X-Name": "User fay", "X-User": f"{w.fay['id']}/USER", "X-Chat": "c-9",
        "X-Absent": "[]", "X-Own": "note-5dd1c0", "X-Region": "eu-north", "X-Plain": "as it is",
    }
    expect(got == wanted, got)
    expect({outcome["status"] for outcome in answer["outcomes"]} == {"OUTCOME_STATUS_RESOLVED"}, answer["outcomes"])


def inserted_values_are_never_expanded(w):
    values = {"NOTE": BEARER, "OTHER": "${WALK_REGION}"}
    entries = {"a": "{{NOTE}}", "b": "{{OTHER}}", "c": "{{note}} {{ NOTE }}"}
    answer = w.resolve(w.fay_tokens["access_token"], entries, "SINK_TEXT", custom_vars=values)
    expect(answer["entries"] == {"a": BEARER, "b": "${WALK_REGION}", "c": "{{note}} {{ NOTE }}"}, answer["entries"])
    unknown = [outcome["placeholder"] for outcome in answer["outcomes"] if outcome["status"] == "OUTCOME_STATUS_UNKNOWN_NAME"]
    expect("{{note}}" in unknown, answer["outcomes"])


def a_users_own_template_reaches_no_token(w):
    entries = {"a": BEARER, "b": "{{NOTE}}", "c": "${WALK_REGION}"}
    more = {"user_authored": True, "on_unresolved": "ON_UNRESOLVED_KEEP", "custom_vars": {"NOTE": "mine"}}
    got = w.resolve(w.fay_tokens["access_token"], entries, "SINK_TEXT", **more)["entries"]
    expect(got == {"b": "mine", "c": "${WALK_REGION}"}, "a value other than the custom variable was put in")


def urls_are_encoded_and_their_host_is_fixed(w):
    token, note = w.fay_tokens["access_token"], {"NOTE": "a b/c?d"}
    got = w.resolve(token, {"u": "https://api.example.com/x/{{NOTE}}?q={{NOTE}}"}, "SINK_URL", custom_vars=note)["entries"]
    expect(got == {"u": "https://api.example.com/x/a%20b%2Fc%3Fd?q=a%20b%2Fc%3Fd"}, got)
    for url in ("https://{{NOTE}}.example.com/", "https://api.example.com/?t={{LIBRECHAT_OPENID_TOKEN}}"):
        failure = w.resolve_fails(token, {"u": url}, "SINK_URL", custom_vars=note)
        refused(failure, "FAILED_PRECONDITION", "PLACEHOLDER_NOT_ALLOWED", "VALUE_UNSAFE")


def header_values_cannot_break_out(w):
    failure = w.resolve_fails(w.fay_tokens["access_token"], {"X-A": "{{NOTE}}"}, custom_vars={"NOTE": "a\r\nX-B: c"})
    refused(failure, "FAILED_PRECONDITION", "VALUE_UNSAFE")
    expect(failure.entries == ["X-A"], failure)


def what_does_not_resolve_fails_and_names_its_entry(w):
    local = w.ann_tokens["access_token"]
    failure = w.resolve_fails(local, {"Authorization": BEARER, "X-Plain": "p"})
    refused(failure, "FAILED_PRECONDITION", "NOT_FEDERATED")
    expect(failure.entries == ["Authorization"], failure)
    failure = w.resolve_fails(w.fay_tokens["access_token"], {"X-A": "{{LIBRECHAT_NO_SUCH_NAME}}", "X-B": "${PATH}"})
    refused(failure, "FAILED_PRECONDITION", "PLACEHOLDER_UNKNOWN", "PLACEHOLDER_NOT_ALLOWED")
    expect(sorted(failure.entries) == ["X-A", "X-B"], failure)
    answer = w.resolve(local, {"Authorization": BEARER, "X-Plain": "p"}, on_unresolved="ON_UNRESOLVED_OMIT")
    expect(answer["entries"] == {"X-Plain": "p"}, answer)
    failure = w.resolve_fails("not.a.token", {"X-Plain": "p"})
    refused(failure, "UNAUTHENTICATED", "ACCESS_TOKEN_INVALID")


def an_endpoint_gets_its_headers(w):
    endpoint = {
        "name": "walk", "baseURL": "https://llm.example.com/${WALK_REGION}/v1", "apiKey": "user_provided",
        "headers": {"Authorization": BEARER, "X-Chat": "{{LIBRECHAT_BODY_CONVERSATIONID}}", "X-Plain": "p"},
    }
    body = {"subject": {"access_token": w.fay_tokens["access_token"]}, "endpoint": endpoint, "body": {"conversationId": "c-9"}}
    answer = w.client.call("FederationService.ResolveEndpoint", body)
    token = w.provider_token(w.fay_tokens["access_token"])
    expect(answer["base_url"] == "https://llm.example.com/eu-north/v1" and answer["api_key"] == "user_provided", answer["base_url"])
    expect(answer["headers"] == {"Authorization": f"Bearer {token}", "X-Chat": "c-9", "X-Plain": "p"}, sorted(answer["headers"]))


def an_mcp_server_gets_its_url_headers_and_environment(w):
    subject = {"access_token": w.fay_tokens["access_token"]}
    token = w.provider_token(w.fay_tokens["access_token"])
    remote = {
        "type": "streamable-http", "url": "https://mcp.example.com/{{LIBRECHAT_USER_USERNAME}}", "timeout": 5, "startup": False,
        "headers": {"Authorization": BEARER, "X-Own": "{{MY_KEY}}"}, "scopes": ["a", "b"],
    }
    body = {"subject": subject, "server": remote, "custom_vars": {"MY_KEY": "k-1"}}
    got = w.client.call("FederationService.ResolveMcpServer", body)["server"]
    url = f"https://mcp.example.com/{w.fay['username']}"
    expect(got == {**remote, "url": url, "headers": {"Authorization": f"Bearer {token}", "X-Own": "k-1"}}, sorted(got), got["url"])
    env = {"TOKEN": "{{LIBRECHAT_OPENID_TOKEN}}", "R": "${WALK_REGION}"}
    child = {"command": "node", "args": ["server.js", "--user={{LIBRECHAT_USER_ID}}"], "env": env}
    got = w.client.call("FederationService.ResolveMcpServer", {"subject": subject, "server": child})["server"]
    args = ["server.js", f"--user={w.fay['id']}"]
    expect(got == {"command": "node", "args": args, "env": {"TOKEN": token, "R": "eu-north"}}, got["args"], sorted(got["env"]))
    leaky = {"command": "node", "args": ["--token={{LIBRECHAT_OPENID_TOKEN}}"]}
    failure = w.client.fails("FederationService.ResolveMcpServer", {"subject": subject, "server": leaky})
    refused(failure, "FAILED_PRECONDITION", "PLACEHOLDER_NOT_ALLOWED")


STEPS = [
    the_provider_is_listed,
    a_user_signs_in_through_the_providers_forms,
    a_state_works_once_and_only_in_its_browser,
    a_refusal_at_the_provider_is_told_and_uses_up_the_state,
    the_same_identity_is_the_same_user,
    an_address_of_another_account_is_never_taken_over,
    headers_get_the_users_own_values,
    inserted_values_are_never_expanded,
    a_users_own_template_reaches_no_token,
    urls_are_encoded_and_their_host_is_fixed,
    header_values_cannot_break_out,
    what_does_not_resolve_fails_and_names_its_entry,
    an_endpoint_gets_its_headers,
    an_mcp_server_gets_its_url_headers_and_environment,
]
