-- The sessions of a user that have not been ended, by when they expire.
CREATE INDEX sessions_live ON sessions (user_id, expire_time) WHERE revoke_time IS NULL;

-- When a session was last used without being refreshed. No index has it, because it changes often.
ALTER TABLE sessions ADD COLUMN last_seen_time BIGINT NOT NULL DEFAULT 0;
