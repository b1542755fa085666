"""A check of the tests' own provider: the whole code flow with PKCE by hand, refresh with rotation and reuse, faults and counts."""

import base64
import hashlib
import json
import secrets
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from browser import sign_in
from provider import CLIENT_ID, CLIENT_SECRET, Provider

REDIRECT = "http://localhost:3080/oauth/openid/callback"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url, token=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})
    with OPENER.open(request, timeout=10) as answer:
        return json.load(answer)


def post(url, form):
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), {"authorization": f"Basic {basic}"})
    try:
        with OPENER.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as answer:
        return answer.code, json.load(answer)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def payload(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def code_flow(discovery, login, scope="openid profile email", **extra):
    verifier, state, nonce = base64url(secrets.token_bytes(32)), secrets.token_hex(8), secrets.token_hex(8)
    asked = {
        "client_id": CLIENT_ID, "response_type": "code", "redirect_uri": REDIRECT, "scope": scope, "state": state, "nonce": nonce,
        "code_challenge": base64url(hashlib.sha256(verifier.encode()).digest()), "code_challenge_method": "S256", **extra,
    }
    callback = sign_in(f"{discovery['authorization_endpoint']}?{urllib.parse.urlencode(asked)}", login)
    assert callback["state"] == state and callback["iss"] == discovery["issuer"], callback
    form = {"grant_type": "authorization_code", "code": callback["code"], "redirect_uri": REDIRECT, "code_verifier": verifier}
    status, tokens = post(discovery["token_endpoint"], form)
    assert status == 200, tokens
    assert payload(tokens["id_token"])["nonce"] == nonce
    return tokens


def refresh(discovery, token):
    return post(discovery["token_endpoint"], {"grant_type": "refresh_token", "refresh_token": token})


def tokens_and_claims(provider, discovery):
    tokens = code_flow(discovery, "ann")
    claims = payload(tokens["id_token"])
    said = (claims["sub"], claims["email"], claims["email_verified"], claims["name"])
    assert said == ("ann", "ann@example.org", True, "User ann"), claims
    assert claims["dept"] == "kites" and claims["aud"] == CLIENT_ID, claims
    assert tokens["expires_in"] == 3600 and tokens["refresh_token"], tokens
    assert get(discovery["userinfo_endpoint"], tokens["access_token"])["sub"] == "ann"


def rotation_and_reuse(provider, discovery):
    first = code_flow(discovery, "bob")["refresh_token"]
    provider.change(access_token_ttl=7)
    status, second = refresh(discovery, first)
    assert status == 200 and second["refresh_token"] != first and second["expires_in"] == 7, second
    assert payload(second["id_token"])["sub"] == "bob"
    status, answer = refresh(discovery, first)
    assert (status, answer["error"]) == (400, "invalid_grant"), answer
    status, answer = refresh(discovery, second["refresh_token"])
    assert (status, answer["error"]) == (400, "invalid_grant"), answer


def no_rotation(provider, discovery):
    provider.change(rotate_refresh_tokens=False)
    first = code_flow(discovery, "cat")["refresh_token"]
    status, answer = refresh(discovery, first)
    assert status == 200 and answer["refresh_token"] == first, answer
    assert refresh(discovery, first)[0] == 200


def offline_access(provider, discovery):
    tokens = code_flow(discovery, "dan", scope="openid offline_access", prompt="consent")
    assert "offline_access" in tokens["scope"] and tokens["refresh_token"], tokens


def faults_and_counts(provider, discovery):
    provider.change(rotate_refresh_tokens=False)
    token = code_flow(discovery, "eve")["refresh_token"]
    before = provider.control("reset", {})
    assert before["requests"] == {}, before
    provider.fail(grant_type="refresh_token", status=503, times=1)
    status, answer = refresh(discovery, token)
    assert (status, answer["error"]) == (503, "temporarily_unavailable"), answer
    provider.fail(drop=True, times=1)
    try:
        raise AssertionError(refresh(discovery, token))
    except OSError:
        pass
    provider.fail()
    assert refresh(discovery, token)[0] == 200
    stats = provider.stats()
    assert stats["requests"] == {"refresh_token": 3}, stats
    assert stats["failures"] == {"refresh_token": 1} and stats["successes"] == {"refresh_token": 2}, stats


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        for check in (tokens_and_claims, rotation_and_reuse, no_rotation, offline_access, faults_and_counts):
            provider = Provider(log, users={"ann": {"dept": "kites"}})
            try:
                check(provider, get(f"{provider.issuer}/.well-known/openid-configuration"))
                print(f"ok   provider: {check.__name__.replace('_', ' ')}")
            finally:
                provider.close()
        for alg in ("PS256", "ES256", "EdDSA"):
            provider = Provider(log, id_token_alg=alg, refresh_tokens="never", claims_in_id_token=False)
            tokens = code_flow(get(f"{provider.issuer}/.well-known/openid-configuration"), "fay")
            assert "refresh_token" not in tokens and "email" not in payload(tokens["id_token"]), tokens
            provider.close()
            print(f"ok   provider: ID tokens by {alg}")


if __name__ == "__main__":
    main()
