"""A gRPC client that knows the service by reflection alone, with plain dicts for messages."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import threading

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

PACKAGE = "countersign.v1"
DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.RequestInfo,
    error_details_pb2.RetryInfo,
)


class Failure(Exception):
    """A failed call with its rich details."""

    def __init__(self, method, error):
        self.method, self.code, self.message = method, error.code().name, error.details()
        self.trailers = dict(error.trailing_metadata() or ())
        details = self._details(error)
        info = details.get("ErrorInfo")
        self.reason = info.reason if info else None
        self.domain = info.domain if info else None
        self.metadata = dict(info.metadata) if info else {}
        bad, failed = details.get("BadRequest"), details.get("PreconditionFailure")
        self.fields = [violation.field for violation in bad.field_violations] if bad else []
        self.entries = [violation.subject for violation in failed.violations] if failed else []
        self.request_id = details["RequestInfo"].request_id if "RequestInfo" in details else None
        self.retry_seconds = details["RetryInfo"].retry_delay.ToTimedelta().total_seconds() if "RetryInfo" in details else None
        super().__init__(repr(self))

    @staticmethod
    def _details(error):
        status, found = rpc_status.from_call(error), {}
        for packed in status.details if status else ():
            for kind in DETAILS:
                if packed.Is(kind.DESCRIPTOR):
                    found[kind.DESCRIPTOR.name] = kind()
                    packed.Unpack(found[kind.DESCRIPTOR.name])
        return found

    def __repr__(self):
        said = {"fields": self.fields, "entries": self.entries, "metadata": self.metadata, "retry": self.retry_seconds}
        extra = " ".join(f"{name}={value}" for name, value in said.items() if value)
        return f"{self.method}: {self.code} {self.reason} ({self.message}) {extra}".rstrip()


class Client:
    """Calls `Service.Method` with a dict and answers a dict; proto field names on both sides, enums by name."""

    def __init__(self, address, token=None, options=()):
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 16 << 20), *options]
        self.channel = grpc.insecure_channel(address, options=options)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)
        self.credentials = [("authorization", f"Bearer {token}")] if token else []
        self.stubs, self.lock = {}, threading.Lock()

    def close(self):
        self.channel.close()

    def stub(self, method):
        with self.lock:
            if method not in self.stubs:
                service, name = method.split(".")
                found = self.pool.FindServiceByName(f"{PACKAGE}.{service}").FindMethodByName(name)
                request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
                codec = {"request_serializer": request.SerializeToString, "response_deserializer": response.FromString}
                shape = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
                self.stubs[method] = shape(f"/{PACKAGE}.{service}/{name}", **codec), request
            return self.stubs[method]

    def call_with_trailers(self, method, body=None, request_id=None, timeout=20):
        stub, request = self.stub(method)
        message = json_format.ParseDict(body or {}, request(), descriptor_pool=self.pool)
        metadata = self.credentials + ([("x-request-id", request_id)] if request_id else [])
        try:
            answer, call = stub.with_call(message, metadata=metadata, timeout=timeout)
        except grpc.RpcError as error:
            raise Failure(method, error) from None
        return self.fields(answer), dict(call.trailing_metadata() or ())

    def fields(self, message):
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=self.pool
        )

    def stream(self, method, body=None, timeout=20):
        """The answers of a stream, one after another."""
        stub, request = self.stub(method)
        message = json_format.ParseDict(body or {}, request(), descriptor_pool=self.pool)
        answers = stub(message, metadata=self.credentials, timeout=timeout)
        try:
            for answer in answers:
                yield self.fields(answer)
        except grpc.RpcError as error:
            raise Failure(method, error) from None
        finally:
            answers.cancel()

    def call(self, method, body=None, **options):
        return self.call_with_trailers(method, body, **options)[0]

    def fails(self, method, body=None, **options):
        """The failure of a call that has to fail."""
        try:
            answer = self.call(method, body, **options)
        except Failure as failure:
            return failure
        raise AssertionError(f"{method} should have failed but answered {answer}")

    def raw(self, path, message):
        """A call of any path with any bytes: its failure, or None."""
        call = self.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(message, metadata=self.credentials, timeout=20)
        except grpc.RpcError as error:
            return Failure(path, error)
        return None
