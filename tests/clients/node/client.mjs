// A backend in Node.js with generated code: `node client.mjs HOST:PORT [TOKEN_FILE]`.
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService } from "./gen/countersign/v1/auth_service_pb.js";
import { FederationService } from "./gen/countersign/v1/federation_service_pb.js";
import { TokenService } from "./gen/countersign/v1/token_service_pb.js";

const [email, password] = ["node@example.com", "kestrel lantern orbit"];
const [address, tokenFile] = process.argv.slice(2);

// With a callers' file, the caller's token. It is read for each call, because a projected one is replaced.
const caller = (next) => (request) => {
  if (tokenFile) request.header.set("authorization", `Bearer ${readFileSync(tokenFile, "utf8").trim()}`);
  return next(request);
};

const transport = createGrpcTransport({ baseUrl: `http://${address}`, interceptors: [caller] });
const users = createClient(AuthService, transport);
const tokens = createClient(TokenService, transport);
const placeholders = createClient(FederationService, transport);
const options = { timeoutMs: 10_000 };

const client = { ipAddress: "203.0.113.7" };
await users.register({ email, password, name: "Node Example", client }, options);
const { result } = await users.login({ email, password, client }, options);
// An unset result, or one that this code does not know, means: not signed in.
if (result.case !== "signedIn") throw new Error("not signed in");
const accessToken = result.value.tokens.accessToken;

const verified = await tokens.verifyToken({ accessToken }, options);
console.log("active:", verified.active, "for", Number(verified.cacheTtl.seconds), "seconds");

// A Struct is a plain object.
const resolve = (headers) =>
  placeholders.resolveEndpoint(
    {
      subject: { subject: { case: "accessToken", value: accessToken } },
      target: { case: "endpoint", value: { baseURL: "https://llm.example.com/v1", headers } },
      body: { conversationId: "c-1" },
    },
    options,
  );
const answer = await resolve({ "X-User": "{{LIBRECHAT_USER_EMAIL}}" });
console.log("X-User:", answer.headers["X-User"]);

try {
  await resolve({ Authorization: "Bearer {{LIBRECHAT_OPENID_TOKEN}}" });
} catch (error) {
  const failure = ConnectError.from(error);
  console.log("refused:", Code[failure.code], failure.rawMessage);
}
