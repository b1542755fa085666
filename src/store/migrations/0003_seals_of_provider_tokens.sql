-- Whoever writes to the database must not be able to prolong a token, so its state is sealed too. A new seal comes with each
-- change of the state, so it also tells one attempt to renew the tokens from another. Times of several machines are not compared.
ALTER TABLE federated_tokens ADD COLUMN state_seal BYTEA;
ALTER TABLE federated_tokens DROP COLUMN attempt_expire_time;
CREATE INDEX federated_tokens_without_seal ON federated_tokens (session_id, identity_id) WHERE state_seal IS NULL;
