"""A backend in Python that verifies access tokens itself, by the public keys: `verify.py OPS_URL ISSUER TOKEN`."""

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
    return jwt.decode(token, key, algorithms=algorithms, issuer=issuer, audience=issuer, options=required)


def main(ops, issuer, token):
    with urllib.request.urlopen(f"{ops}/.well-known/openid-configuration", timeout=10) as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer, metadata
    algorithms = metadata["id_token_signing_alg_values_supported"]
    keys = jwt.PyJWKClient(metadata["jwks_uri"], lifespan=60, timeout=10)
    claims = verified(keys, algorithms, issuer, token)
    print("user:", claims["sub"], "by", jwt.get_unverified_header(token)["alg"])
    head, payload, signature = token.split(".")
    other = "B" if signature[9] == "A" else "A"
    try:
        verified(keys, algorithms, issuer, f"{head}.{payload}.{signature[:9]}{other}{signature[10:]}")
    except jwt.InvalidSignatureError as error:
        print("refused:", error)


main(*sys.argv[1:])
