"""Accounts, local sign-in and what a verified token says."""

from service import serving
from world import at_once, expect, refused

SERVICES = ("AuthService", "TokenService", "ModerationService", "FederationService")


def health_and_reflection_know_every_service(w):
    for name in ("", *(f"countersign.v1.{service}" for service in SERVICES)):
        expect(serving(w.service.address, name), name)
    shown = set(w.client.reflection.get_services())
    expect({f"countersign.v1.{service}" for service in SERVICES} <= shown, shown)


def a_bad_registration_names_every_field_at_once(w):
    body = {"email": "not-an-address", "password": "x", "name": "x", "client": {"ip_address": "nowhere"}}
    failure = refused(w.client.fails("AuthService.Register", body), "INVALID_ARGUMENT", "FIELDS_INVALID")
    expect({"email", "password", "name", "client.ip_address"} <= set(failure.fields), failure)


def the_first_account_is_admin_and_the_next_is_not(w):
    w.ann_password, w.bob_password = w.new_password("ann"), w.new_password("bob")
    w.ann, w.bob = w.register("ann", w.ann_password), w.register("bob", w.bob_password)
    expect((w.ann["role"], w.bob["role"]) == ("ADMIN", "USER"), w.ann, w.bob)
    expect(len(w.ann["id"]) == 24 and int(w.ann["id"], 16) and w.ann["provider"] == "local", w.ann)
    expect(w.ann["email"] == "ann@walk.example" and not w.ann["email_verified"], w.ann)


def an_address_in_use_is_refused_in_any_case(w):
    body = {"email": "ANN@walk.example", "password": w.new_password("another"), "name": "Another Ann", "client": w.connection()}
    refused(w.client.fails("AuthService.Register", body), "ALREADY_EXISTS", "EMAIL_IN_USE")


def twenty_registrations_at_once_make_one_administrator(w):
    other = w.new_service()
    passwords = [w.new_password(f"racer {index}") for index in range(20)]

    def register(index):
        body = {"email": f"racer{index}@walk.example", "password": passwords[index], "name": f"Racer {index}"}
        return other.client.call("AuthService.Register", {**body, "client": {"ip_address": f"198.18.0.{index + 1}"}})["user"]["role"]

    other.client.stub("AuthService.Register")
    roles = sorted(at_once(register))
    expect(roles == ["ADMIN"] + ["USER"] * 19, roles)
    expect(other.stop() == 0, other.log()[-2000:])


def login_opens_a_session(w):
    signed_in = w.login("ann", w.ann_password)
    tokens = w.ann_tokens = signed_in["tokens"]
    expect(signed_in["user"]["id"] == w.ann["id"], signed_in["user"])
    expect(tokens["token_type"] == "Bearer" and tokens["session_id"], sorted(tokens))
    expect(tokens["access_token"].count(".") == 2 and tokens["refresh_token"].startswith("csr_"), "the tokens' form")
    expect(tokens["access_expire_time"] < tokens["refresh_expire_time"], tokens["access_expire_time"], tokens["refresh_expire_time"])


def a_wrong_password_and_an_unknown_account_look_alike(w):
    def login(email):
        return w.client.fails("AuthService.Login", {"email": email, "password": "not-the-password-1", "client": w.connection()})

    wrong, unknown = login("ann@walk.example"), login("nobody@walk.example")
    refused(wrong, "UNAUTHENTICATED", "CREDENTIALS_WRONG")
    expect((wrong.code, wrong.reason, wrong.message) == (unknown.code, unknown.reason, unknown.message), wrong, unknown)


def verify_says_who_holds_the_token(w):
    answer = w.verify(w.ann_tokens["access_token"])
    claims = answer["claims"]
    said = {name: claims.get(name) for name in ("user_id", "session_id", "email", "username", "role", "provider", "audience", "amr", "name")}
    expect(answer["active"] and answer.get("cache_ttl") == "5s", answer)
    expect(
        said == {
            "user_id": w.ann["id"], "session_id": w.ann_tokens["session_id"], "email": "ann@walk.example", "username": "ann",
            "role": "ADMIN", "provider": "local", "audience": "http://localhost:3080", "amr": ["pwd"], "name": w.ann["name"],
        },
        claims,
    )
    expect(len(claims["token_id"]) == 32, claims)
    # To the second, which is all that a JWT says.
    expect(claims["issue_time"][:19] >= claims["auth_time"][:19], claims)
    expect(claims["expire_time"][:19] == w.ann_tokens["access_expire_time"][:19], claims, w.ann_tokens["access_expire_time"])


def a_bad_token_is_an_answer_and_no_error(w):
    good = w.ann_tokens["access_token"]
    head, body, signature = good.split(".")
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    for bad in (f"{head}.{body}.{flipped}", f"{head}.{body}.", "no.token.atall", "x", w.ann_tokens["refresh_token"]):
        answer = w.verify(bad)
        expect(not answer["active"] and answer["inactive_reason"] == "INACTIVE_REASON_INVALID" and not answer.get("claims"), answer)
    answer = w.verify(good, audience="https://elsewhere.example")
    expect(not answer["active"] and answer["inactive_reason"] == "INACTIVE_REASON_INVALID", answer)


def a_batch_is_answered_in_its_order(w):
    good = w.ann_tokens["access_token"]
    answer = w.client.call("TokenService.BatchVerifyTokens", {"access_tokens": [good, "bad", good]})
    expect([result["answer"]["active"] for result in answer["results"]] == [True, False, True], answer)
    failure = w.client.fails("TokenService.BatchVerifyTokens", {"access_tokens": ["bad"] * 101})
    refused(failure, "INVALID_ARGUMENT", "FIELDS_INVALID")


def a_user_is_found_by_token_session_id_and_address(w):
    subjects = {
        "access_token": w.ann_tokens["access_token"],
        "session_id": w.ann_tokens["session_id"],
        "user_id": w.ann["id"],
    }
    bodies = [{"subject": {kind: value}} for kind, value in subjects.items()] + [{"email": "ann@walk.example"}]
    for body in bodies:
        user = w.client.call("AuthService.GetUser", body)["user"]
        expect(user == w.ann, user, w.ann)
    failure = w.client.fails("AuthService.GetUser", {"subject": {"user_id": "0" * 24}})
    refused(failure, "NOT_FOUND", "USER_NOT_FOUND")


def users_are_listed_page_by_page(w):
    seen, token = [], ""
    while True:
        page = w.client.call("AuthService.ListUsers", {"page_size": 1, "page_token": token})
        seen += [user["id"] for user in page["users"]]
        token = page["next_page_token"]
        if not token:
            break
    expect(seen[:2] == [w.ann["id"], w.bob["id"]], seen)
    refused(w.client.fails("AuthService.ListUsers", {"page_token": "not-one"}), "INVALID_ARGUMENT", "FIELDS_INVALID")


STEPS = [
    health_and_reflection_know_every_service,
    a_bad_registration_names_every_field_at_once,
    the_first_account_is_admin_and_the_next_is_not,
    an_address_in_use_is_refused_in_any_case,
    twenty_registrations_at_once_make_one_administrator,
    login_opens_a_session,
    a_wrong_password_and_an_unknown_account_look_alike,
    verify_says_who_holds_the_token,
    a_bad_token_is_an_answer_and_no_error,
    a_batch_is_answered_in_its_order,
    a_user_is_found_by_token_session_id_and_address,
    users_are_listed_page_by_page,
]
