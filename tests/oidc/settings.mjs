// What a test may set, with the defaults that most tests want.
export const defaults = {
  // 0 takes a free port.
  port: 0,
  client_id: 'countersign',
  // null makes a public client.
  client_secret: 'countersign-client-secret-of-the-tests',
  // client_secret_basic, client_secret_post or none.
  auth_method: 'client_secret_basic',
  redirect_uris: ['http://localhost:3080/oauth/openid/callback'],
  post_logout_redirect_uris: [],
  // Seconds; /control/settings changes the first two while the provider runs.
  access_token_ttl: 3600,
  id_token_ttl: 3600,
  refresh_token_ttl: 14 * 24 * 3600,
  // A rotated refresh token that comes again ends the whole grant.
  rotate_refresh_tokens: true,
  // always, offline_access (only where that scope was granted) or never.
  refresh_tokens: 'always',
  // RS256, PS256, ES256 or EdDSA.
  id_token_alg: 'RS256',
  require_pkce: true,
  // false leaves everything but the subject to the userinfo endpoint.
  claims_in_id_token: true,
  // Login name → claims over the usual ones. A claim that is null is left out.
  users: {},
  // Ends the provider when its standard input closes, so that it never outlives the test.
  exit_with_stdin: false,
};

/** Settings from the file named on the command line, or from OIDC_SETTINGS as JSON text, over the defaults. */
export function read(file, text, readFile) {
  const given = JSON.parse(file ? readFile(file, 'utf8') : text || '{}');
  const unknown = Object.keys(given).filter((name) => !(name in defaults));
  if (unknown.length) throw new Error(`unknown settings: ${unknown.join(', ')}`);
  return { ...defaults, ...given };
}
