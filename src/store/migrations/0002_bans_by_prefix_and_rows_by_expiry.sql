-- A ban of addresses is found by its network's prefix: the digit of the family (4 or 6), and the bits of the prefix as 0 and 1.
-- The service gives the prefix to bans that were stored before, when it starts.
DROP INDEX bans_by_range;
ALTER TABLE bans DROP COLUMN range_first;
ALTER TABLE bans DROP COLUMN range_last;
ALTER TABLE bans ADD COLUMN prefix TEXT;
CREATE INDEX bans_by_prefix ON bans (prefix) WHERE prefix IS NOT NULL AND lift_time IS NULL;
CREATE INDEX bans_without_prefix ON bans (prefix) WHERE network IS NOT NULL AND prefix IS NULL;

-- Every length that a prefix in bans has or had, so that a look-up tries these and no other.
CREATE TABLE ban_prefix_lengths (
    length BIGINT PRIMARY KEY
);

-- The violation type that led to the ban, empty for an administrator's; and the caller that reported it or asked for the ban.
ALTER TABLE bans ADD COLUMN violation_type TEXT NOT NULL DEFAULT '';
ALTER TABLE bans ADD COLUMN caller TEXT NOT NULL DEFAULT '';
ALTER TABLE bans ADD COLUMN request_id TEXT;
UPDATE bans SET violation_type = reason,
    caller = COALESCE((SELECT v.caller FROM violations v WHERE v.id = bans.violation_id), '')
    WHERE violation_id IS NOT NULL;
CREATE UNIQUE INDEX bans_by_request ON bans (caller, request_id) WHERE request_id IS NOT NULL;

-- Ended rows are found by when they ended.
CREATE INDEX bans_by_expiry ON bans (expire_time) WHERE expire_time IS NOT NULL;
CREATE INDEX bans_by_lift ON bans (lift_time) WHERE lift_time IS NOT NULL;
ALTER TABLE federated_tokens ADD COLUMN session_expire_time BIGINT NOT NULL DEFAULT 0;
UPDATE federated_tokens SET session_expire_time = (SELECT s.expire_time FROM sessions s WHERE s.id = federated_tokens.session_id);
CREATE INDEX federated_tokens_by_expiry ON federated_tokens (session_expire_time);
