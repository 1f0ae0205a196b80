-- depends: 0003.rows
-- When each ACL token was last used, to the minute.

CREATE TABLE heroctl.uses (
    token text PRIMARY KEY,
    used_at bigint NOT NULL -- ms since the epoch
);
