"""A backend in Python with generated code: `client.py HOST:PORT [TOKEN_FILE]`."""

import sys
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from countersign.v1 import auth_service_pb2 as auth
from countersign.v1 import auth_service_pb2_grpc, federation_service_pb2_grpc, token_service_pb2_grpc
from countersign.v1 import federation_service_pb2 as federation
from countersign.v1 import token_service_pb2 as token
from countersign.v1 import user_pb2 as user

EMAIL, PASSWORD = "python@example.com", "kestrel lantern orbit"


def endpoint(headers):
    request = federation.ResolveEndpointRequest()
    json_format.ParseDict({"baseURL": "https://llm.example.com/v1", "headers": headers}, request.endpoint)
    return request


def reason(error):
    """The reason that this service gives for an error, such as `NOT_FEDERATED`."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def options(token_file):
    """A deadline and, with a callers' file, the caller's token. It is read for each call, because a projected one is replaced."""
    metadata = (("authorization", f"Bearer {Path(file).read_text().strip()}") for file in token_file)
    return {"timeout": 10, "metadata": tuple(metadata)}


def main(address, *token_file):
    with grpc.insecure_channel(address) as channel:
        users = auth_service_pb2_grpc.AuthServiceStub(channel)
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        placeholders = federation_service_pb2_grpc.FederationServiceStub(channel)

        connection = user.ClientContext(ip_address="203.0.113.7")
        account = auth.RegisterRequest(email=EMAIL, password=PASSWORD, name="Py Example", client=connection)
        users.Register(account, **options(token_file))
        login = users.Login(auth.LoginRequest(email=EMAIL, password=PASSWORD, client=connection), **options(token_file))
        # An unset result, or one that this code does not know, means: not signed in.
        assert login.WhichOneof("result") == "signed_in"
        access_token = login.signed_in.tokens.access_token

        verified = tokens.VerifyToken(token.VerifyTokenRequest(access_token=access_token), **options(token_file))
        print("active:", verified.active, "for", verified.cache_ttl.seconds, "seconds")

        request = endpoint({"X-User": "{{LIBRECHAT_USER_EMAIL}}"})
        request.subject.access_token = access_token
        request.body.conversation_id = "c-1"
        print("X-User:", placeholders.ResolveEndpoint(request, **options(token_file)).headers["X-User"])

        request = endpoint({"Authorization": "Bearer {{LIBRECHAT_OPENID_TOKEN}}"})
        request.subject.access_token = access_token
        try:
            placeholders.ResolveEndpoint(request, **options(token_file))
        except grpc.RpcError as error:
            print("refused:", error.code().name, reason(error))


main(*sys.argv[1:])
