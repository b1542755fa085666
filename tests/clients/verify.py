"""A backend in Python that verifies access tokens itself, by the public keys: `verify.py OPS_URL ISSUER TOKEN EXCHANGED`."""

import json
import sys
import urllib.request

import jwt


def verified(keys, algorithms, issuer, token):
    """The claims of a token; raises `jwt.InvalidTokenError` or, for an unknown key, `jwt.PyJWKClientError`."""
    # An ID token, a logout token and the like have another type.
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("no access token")
    key = keys.get_signing_key_from_jwt(token)
    required = {"require": ["exp", "iat", "sub", "sid"]}
    claims = jwt.decode(token, key, algorithms=algorithms, issuer=issuer, audience=issuer, options=required)
    # A token that was exchanged is good for its scopes alone, and this backend knows none.
    if "scope" in claims:
        raise jwt.InvalidTokenError("good for its scopes alone")
    return claims


def main(ops, issuer, token, exchanged):
    with urllib.request.urlopen(f"{ops}/.well-known/openid-configuration", timeout=10) as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer, metadata
    algorithms = metadata["id_token_signing_alg_values_supported"]
    keys = jwt.PyJWKClient(metadata["jwks_uri"], lifespan=60, timeout=10)
    claims = verified(keys, algorithms, issuer, token)
    print("user:", claims["sub"], "by", jwt.get_unverified_header(token)["alg"])
    head, payload, signature = token.split(".")
    other = "B" if signature[9] == "A" else "A"
    forged = f"{head}.{payload}.{signature[:9]}{other}{signature[10:]}"
    for refused in (forged, exchanged):
        try:
            verified(keys, algorithms, issuer, refused)
        except jwt.InvalidTokenError as error:
            print("refused:", error)


main(*sys.argv[1:])
