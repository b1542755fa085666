// A certified OpenID provider for the tests: any login name signs in through its real login and consent forms.
// `node provider.mjs [settings.json]` prints one line, {"issuer": …, "port": …}, once it serves. Settings: settings.mjs.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';
import { Control } from './control.mjs';
import { read } from './settings.mjs';

// Standard output belongs to the one line.
console.info = console.error;

const KEYS = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

function signingKey(alg) {
  const jwk = KEYS[alg]().privateKey.export({ format: 'jwk' });
  return { ...jwk, kid: randomBytes(8).toString('hex'), use: 'sig', alg };
}

/** Any login name is an account, with these claims. */
function claimsOf(settings, login) {
  const usual = { sub: login, email: `${login}@example.org`, email_verified: true, name: `User ${login}`, preferred_username: login };
  const claims = { ...usual, ...settings.users[login] };
  return Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null));
}

function scopesToClaims(settings) {
  const email = ['email', 'email_verified'];
  const named = Object.values(settings.users).flatMap((claims) => Object.keys(claims));
  const profile = ['name', 'preferred_username', 'picture', ...named.filter((claim) => claim !== 'sub' && !email.includes(claim))];
  return { openid: ['sub'], email, profile: [...new Set(profile)] };
}

function client(settings) {
  const secret = settings.client_secret === null ? {} : { client_secret: settings.client_secret };
  return {
    client_id: settings.client_id,
    ...secret,
    token_endpoint_auth_method: settings.client_secret === null ? 'none' : settings.auth_method,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: settings.redirect_uris,
    post_logout_redirect_uris: settings.post_logout_redirect_uris,
    id_token_signed_response_alg: settings.id_token_alg,
  };
}

function issuesRefreshToken(settings, source) {
  if (settings.refresh_tokens === 'offline_access') return source.scopes.has('offline_access');
  return settings.refresh_tokens === 'always';
}

function configuration(settings) {
  return {
    clients: [client(settings)],
    jwks: { keys: [signingKey(settings.id_token_alg)] },
    enabledJWA: { idTokenSigningAlgValues: [settings.id_token_alg] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: scopesToClaims(settings),
    conformIdTokenClaims: !settings.claims_in_id_token,
    findAccount: (_ctx, login) => ({ accountId: login, claims: () => claimsOf(settings, login) }),
    issueRefreshToken: (_ctx, _client, source) => issuesRefreshToken(settings, source),
    rotateRefreshToken: () => settings.rotate_refresh_tokens,
    pkce: { required: () => settings.require_pkce },
    features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, revocation: { enabled: true } },
    ttl: {
      AccessToken: () => settings.access_token_ttl,
      IdToken: () => settings.id_token_ttl,
      RefreshToken: () => settings.refresh_token_ttl,
      AuthorizationCode: 60,
      Grant: settings.refresh_token_ttl,
      Interaction: 600,
      Session: settings.refresh_token_ttl,
    },
  };
}

const settings = read(process.argv[2], process.env.OIDC_SETTINGS, readFileSync);
const server = createServer();
await new Promise((resolve) => { server.listen(settings.port, '127.0.0.1', resolve); });
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, configuration(settings));
provider.use(new Control(settings).middleware());
provider.on('server_error', (_ctx, error) => console.error(error));
server.on('request', provider.callback());
if (settings.exit_with_stdin) process.stdin.on('end', () => process.exit(0)).resume();
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
console.log(JSON.stringify({ issuer, port }));
