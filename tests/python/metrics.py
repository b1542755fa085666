"""What /metrics of the release binary counts, beside what a client did."""

import urllib.request

from service import free_port
from world import expect, refused

# What calls of this client alone change.
COUNTED = (
    "rpc_server_call_duration_seconds_count",
    "countersign_rpc_errors_total",
    "countersign_token_verifications_total",
    "countersign_sessions_opened_total",
    "countersign_session_refreshes_total",
    "countersign_sessions_ended_total",
    "countersign_limited_attempts_total",
    "countersign_ban_checks_total",
    "countersign_violations_total",
    "countersign_bans_total",
    "countersign_password_calls_refused_total",
    "countersign_token_releases_total",
)


def counts(ops):
    """The counters by name and labels; whether a session was in memory depends on the time, so that is left out."""
    with urllib.request.urlopen(f"http://{ops}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith(COUNTED) and "grpc." not in line:
            name, value = line.rsplit(" ", 1)
            name = name.replace(',source="memory"', "").replace(',source="store"', "")
            found[name] = found.get(name, 0) + int(value)
    return found


def rpc(method, code, count):
    return {f'rpc_server_call_duration_seconds_count{{rpc_method="countersign.v1.{method}",rpc_response_status_code="{code}"}}': count}


def everything_that_a_client_did_is_counted_and_nothing_else(w):
    ops = f"127.0.0.1:{free_port()}"
    other = w.new_service(COUNTERSIGN_OPS_LISTEN=ops)
    call, fails = other.client.call, other.client.fails
    account = {"email": "ann@walk.example", "password": w.new_password("the other ann"), "client": w.connection()}
    call("AuthService.Register", {**account, "name": "Ann Walker"})
    before = counts(ops)
    pairs = [w.keep(call("AuthService.Login", account)["signed_in"]["tokens"]) for _ in range(2)]
    refused(fails("AuthService.Login", {**account, "password": "not-the-password-1"}), "UNAUTHENTICATED", "CREDENTIALS_WRONG")
    for token in [pairs[0]["access_token"]] * 5 + ["x", pairs[0]["refresh_token"]]:
        call("TokenService.VerifyToken", {"access_token": token})
    w.keep(call("TokenService.RefreshSession", {"refresh_token": pairs[0]["refresh_token"]})["tokens"])
    refused(fails("TokenService.RefreshSession", {"refresh_token": "x"}), "UNAUTHENTICATED", "REFRESH_TOKEN_INVALID")
    call("AuthService.Logout", {"refresh_token": pairs[1]["refresh_token"]})
    call("TokenService.VerifyToken", {"access_token": pairs[1]["access_token"]})
    after = counts(ops)
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    expect(
        changed == {
            **rpc("AuthService/Login", "OK", 2),
            **rpc("AuthService/Login", "UNAUTHENTICATED", 1),
            **rpc("TokenService/VerifyToken", "OK", 8),
            **rpc("TokenService/RefreshSession", "OK", 1),
            **rpc("TokenService/RefreshSession", "UNAUTHENTICATED", 1),
            **rpc("AuthService/Logout", "OK", 1),
            'countersign_rpc_errors_total{reason="CREDENTIALS_WRONG"}': 1,
            'countersign_rpc_errors_total{reason="REFRESH_TOKEN_INVALID"}': 1,
            'countersign_token_verifications_total{outcome="active"}': 5,
            'countersign_token_verifications_total{outcome="invalid"}': 2,
            'countersign_token_verifications_total{outcome="session_revoked"}': 1,
            'countersign_sessions_opened_total{method="password"}': 2,
            'countersign_session_refreshes_total{outcome="rotated"}': 1,
            'countersign_session_refreshes_total{outcome="refused"}': 1,
            'countersign_sessions_ended_total{reason="logout"}': 1,
            'countersign_limited_attempts_total{limiter="login",decision="allowed"}': 3,
            'countersign_ban_checks_total{decision="allowed"}': 3,
        },
        changed,
    )
    expect(other.stop() == 0, other.log()[-2000:])


STEPS = [everything_that_a_client_did_is_counted_and_nothing_else]
