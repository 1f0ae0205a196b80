-- depends: 0004.sessions
-- Snapshots: what the log up to an index amounts to, as bytes (eventstore/snapshot.py). Each is made by one process,
-- row by row; it counts when it was read back and found true, and no more once it was refused.

CREATE TABLE heroctl.snapshots (
    id uuid PRIMARY KEY,
    index bigint NOT NULL,
    chain bytea NOT NULL,
    incarnation text NOT NULL,
    format integer NOT NULL,
    release text NOT NULL,
    time bigint NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    size bigint NOT NULL DEFAULT 0,
    hash bytea NOT NULL DEFAULT '',
    verified boolean NOT NULL DEFAULT false,
    refused text NOT NULL DEFAULT ''
);

CREATE INDEX snapshots_index ON heroctl.snapshots (index);

-- The bytes are packed already.
CREATE TABLE heroctl.snapshot_rows (
    snapshot uuid NOT NULL REFERENCES heroctl.snapshots ON DELETE CASCADE,
    number integer NOT NULL,
    data bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (snapshot, number)
);
