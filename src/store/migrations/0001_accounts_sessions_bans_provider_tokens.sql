-- One text for SQLite and PostgreSQL: TEXT, BIGINT (times in milliseconds since the epoch), BOOLEAN, BYTEA.

-- Facts about the store itself: its epoch, and what may happen once only.
CREATE TABLE markers (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- A known text sealed with each root key, to tell a wrong key before anything is written.
CREATE TABLE canaries (
    key_id TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT UNIQUE,
    email_verified BOOLEAN NOT NULL,
    name TEXT NOT NULL,
    username TEXT NOT NULL,
    role TEXT NOT NULL,
    provider TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);
CREATE INDEX users_by_age ON users (create_time, id);

CREATE TABLE passwords (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL,
    update_time BIGINT NOT NULL
);

-- An account at a provider: (issuer, subject) finds the user, nothing else does.
CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- One row a session; its generation says which refresh token is current.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    caller TEXT NOT NULL,
    provider TEXT NOT NULL,
    amr TEXT NOT NULL,
    salt BYTEA NOT NULL,
    generation BIGINT NOT NULL,
    ip_address TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    device_name TEXT NOT NULL,
    request_id TEXT,
    auth_time BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    refresh_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL,
    revoke_time BIGINT,
    revoke_reason TEXT,
    UNIQUE (caller, request_id)
);
CREATE INDEX sessions_by_user ON sessions (user_id, create_time, id);
CREATE INDEX sessions_by_expiry ON sessions (expire_time);

-- A sign-in at a provider that was begun and not completed.
CREATE TABLE federated_logins (
    state_hash BYTEA PRIMARY KEY,
    binding_hash BYTEA NOT NULL,
    provider TEXT NOT NULL,
    caller TEXT NOT NULL,
    secrets BYTEA NOT NULL,
    return_to TEXT NOT NULL,
    expire_time BIGINT NOT NULL
);
CREATE INDEX federated_logins_by_expiry ON federated_logins (expire_time);

-- What a provider issued for a user in one session; tokens and claims are sealed.
CREATE TABLE federated_tokens (
    session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    identity_id TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    access_token BYTEA NOT NULL,
    access_expire_time BIGINT NOT NULL,
    id_token BYTEA,
    id_expire_time BIGINT,
    refresh_token BYTEA,
    claims BYTEA NOT NULL,
    scopes TEXT NOT NULL,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    attempt_expire_time BIGINT,
    retry_time BIGINT,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (session_id, identity_id)
);
CREATE INDEX federated_tokens_by_identity ON federated_tokens (identity_id);

CREATE TABLE signing_keys (
    id TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    private_key BYTEA NOT NULL,
    state TEXT NOT NULL,
    create_time BIGINT NOT NULL
);
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (state) WHERE state = 'active';

-- Attempts of a limiter in the current window of a key.
CREATE TABLE limits (
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    reset_time BIGINT NOT NULL,
    PRIMARY KEY (name, target)
);
CREATE INDEX limits_by_reset ON limits (reset_time);

-- Score of a violation type for a user or an address.
CREATE TABLE scores (
    type TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    score BIGINT NOT NULL,
    expire_time BIGINT,
    PRIMARY KEY (type, target_kind, target)
);
CREATE INDEX scores_by_expiry ON scores (expire_time);

-- Every recorded violation with the answer that it got.
CREATE TABLE violations (
    id TEXT PRIMARY KEY,
    caller TEXT NOT NULL,
    request_id TEXT,
    type TEXT NOT NULL,
    user_id TEXT,
    ip_address TEXT,
    added BIGINT NOT NULL,
    previous_score BIGINT NOT NULL,
    score BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    UNIQUE (caller, request_id)
);
CREATE INDEX violations_by_age ON violations (create_time);

-- A user's ban has user_id; a ban of addresses has their network and its two ends, each a byte for the family (4 or 6) and the address.
CREATE TABLE bans (
    id TEXT PRIMARY KEY,
    violation_id TEXT,
    user_id TEXT,
    network TEXT,
    range_first BYTEA,
    range_last BYTEA,
    reason TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT,
    lift_time BIGINT
);
CREATE INDEX bans_by_user ON bans (user_id) WHERE user_id IS NOT NULL AND lift_time IS NULL;
CREATE INDEX bans_by_range ON bans (range_first, range_last) WHERE range_first IS NOT NULL AND lift_time IS NULL;
CREATE INDEX bans_by_violation ON bans (violation_id);
CREATE INDEX bans_by_age ON bans (create_time, id);
