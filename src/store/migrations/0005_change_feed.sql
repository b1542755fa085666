-- What other processes have to know of a commit. Each row is written by the transaction that makes the change, and
-- numbered without gaps in the order of the commits.
CREATE TABLE changes (
    number BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    session_id TEXT,
    user_id TEXT,
    ban_id TEXT,
    not_before BIGINT,
    create_time BIGINT NOT NULL
);
CREATE INDEX changes_by_age ON changes (create_time);

-- The sessions that were ended before, as far as their tokens may not have expired.
INSERT INTO changes (number, kind, session_id, create_time)
    SELECT ROW_NUMBER() OVER (ORDER BY revoke_time, id), 'session_revoked', id, revoke_time FROM sessions
    WHERE revoke_time > (SELECT MAX(revoke_time) FROM sessions) - 90000000;

-- One row: the number of the last change.
CREATE TABLE change_counter (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL
);
INSERT INTO change_counter (id, number) SELECT 1, COUNT(*) FROM changes;

-- Sessions of the user that were opened before this time were ended.
ALTER TABLE users ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;
