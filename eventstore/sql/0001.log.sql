-- The log: its end, its events, the streams' versions, and what is known of batches and calls that may be sent again.
-- Everything stands in the schema `heroctl`, which the migrator makes.

-- One row: the log's end and the only lock of an append. Rewritten by every append, so it gets a page to itself.
CREATE TABLE heroctl.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    index bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    incarnation text NOT NULL DEFAULT '',
    chain bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    time bigint NOT NULL DEFAULT 0,
    level integer NOT NULL DEFAULT 1,
    origin text NOT NULL DEFAULT ''
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

INSERT INTO heroctl.head DEFAULT VALUES;

-- `last` is the index of the last event of the same append; that one carries the chain's hash. Times are ms.
CREATE TABLE heroctl.events (
    index bigint NOT NULL,
    last bigint NOT NULL,
    time bigint NOT NULL,
    tag text COLLATE "C" NOT NULL,
    schema integer NOT NULL,
    meta bytea NOT NULL,
    data bytea NOT NULL,
    chain bytea,
    PRIMARY KEY (index)
) PARTITION BY RANGE (index);

-- The partitions of `events`: [first, stop), named events_<first>.
CREATE TABLE heroctl.partitions (
    first bigint PRIMARY KEY,
    stop bigint NOT NULL CHECK (stop > first)
);

CREATE TABLE heroctl.streams (
    name text COLLATE "C" PRIMARY KEY,
    last bigint NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE heroctl.batches (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    firsts bigint[] NOT NULL,
    expects integer[] NOT NULL,
    lasts bigint[] NOT NULL
);

-- The keys of clients that may ask again, and the place of the append that each named first; `first` > `last`: it had
-- no events. Digests both, made by who knows a secret: nothing can be told from a row. `at` is the log's time (ms).
CREATE TABLE heroctl.keys (
    key bytea PRIMARY KEY,
    body bytea NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    at bigint NOT NULL
);

CREATE INDEX keys_at ON heroctl.keys (at);

-- Makes partitions until two whole ones lie ahead of the place half a partition beyond the head. Answers the index at
-- which to call again. LIKE + ATTACH, since CREATE ... PARTITION OF waits for every open reader and stops all writers
-- while it waits.
CREATE FUNCTION heroctl.make_partitions(p_size bigint DEFAULT 250000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = heroctl, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    v_head bigint;
    v_first bigint;
    v_ahead bigint;
    v_name text;
BEGIN
    LOCK TABLE partitions IN SHARE ROW EXCLUSIVE MODE;
    SELECT h.index INTO v_head FROM head h;
    LOOP
        SELECT count(*) INTO v_ahead FROM partitions p WHERE p.first > v_head + 1 + p_size / 2;
        EXIT WHEN v_ahead >= 2;
        SELECT coalesce(max(p.stop), 1) INTO v_first FROM partitions p;
        v_name := format('events_%s', v_first);
        EXECUTE format('CREATE TABLE heroctl.%I (LIKE heroctl.events INCLUDING ALL)', v_name);
        EXECUTE format('ALTER TABLE heroctl.events ATTACH PARTITION heroctl.%I FOR VALUES FROM (%s) TO (%s)',
            v_name, v_first, v_first + p_size);
        INSERT INTO partitions VALUES (v_first, v_first + p_size);
    END LOOP;
    -- The middle of the first partition whose middle the head has not passed.
    RETURN (SELECT min((p.first + p.stop) / 2) FROM partitions p WHERE (p.first + p.stop) / 2 > v_head);
END $$;

-- The answers to batches are kept for ten minutes; nobody sends one again for longer than some seconds. So many at a
-- time, so that however many there are, some go before the statement's time is up.
CREATE FUNCTION heroctl.prune_batches(p_most bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
    WITH gone AS (
        DELETE FROM batches b WHERE b.id IN (
            SELECT o.id FROM batches o WHERE o.at < clock_timestamp() - interval '10 minutes'
            LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Keys count for a day. So many at a time, so that a day's worth after a long pause is no long transaction.
CREATE FUNCTION heroctl.prune_keys(p_most bigint) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
    WITH gone AS (
        DELETE FROM keys k WHERE k.key IN (
            SELECT o.key FROM keys o
            WHERE o.at <= floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - 86400000
            ORDER BY o.at LIMIT p_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
