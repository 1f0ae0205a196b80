-- depends: 0003.rows
-- Logins: the newest refresh token's number, and when the session ends. Nothing here opens anything by itself.

CREATE TABLE heroctl.sessions (
    id text COLLATE "C" PRIMARY KEY,
    username text NOT NULL,
    token text NOT NULL DEFAULT '',
    credential text NOT NULL DEFAULT '',
    number integer NOT NULL DEFAULT 0,
    rotated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);

CREATE INDEX sessions_revoked ON heroctl.sessions (id) WHERE revoked;
CREATE INDEX sessions_expires ON heroctl.sessions (expires_at);
