-- When a signing key became active, stopped signing, and was revoked.
ALTER TABLE signing_keys ADD COLUMN activate_time BIGINT;
ALTER TABLE signing_keys ADD COLUMN retire_time BIGINT;
ALTER TABLE signing_keys ADD COLUMN revoke_time BIGINT;
UPDATE signing_keys SET activate_time = create_time;
CREATE UNIQUE INDEX signing_keys_next ON signing_keys (state) WHERE state = 'next';

-- The signing key that a change is of.
ALTER TABLE changes ADD COLUMN kid TEXT;
