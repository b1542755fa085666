-- The sessions of a user that have not been ended, by when they expire.
CREATE INDEX sessions_live ON sessions (user_id, expire_time) WHERE revoke_time IS NULL;
