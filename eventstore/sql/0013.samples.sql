-- depends: 0011.clocks
-- Samples: what nodes and allocations use. No truth hangs on them: nothing here is part of the log, or waits for a disk.

-- Who was sampled. Names stay as long as there is something to show under them.
CREATE TABLE heroctl.sampled (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL, -- node, alloc
    name text COLLATE "C" NOT NULL, -- the node's name, the allocation's id
    node text COLLATE "C" NOT NULL,
    namespace text COLLATE "C" NOT NULL,
    job text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    seen bigint NOT NULL, -- s
    UNIQUE (kind, name)
);

CREATE INDEX sampled_job ON heroctl.sampled (job, namespace) WHERE kind = 'alloc';
CREATE INDEX sampled_node ON heroctl.sampled (node);

-- As they came: one value for each metric, in the order of heroctl.domain.metrics. `at`: s, a multiple of ten.
CREATE TABLE heroctl.samples (
    subject integer NOT NULL,
    at bigint NOT NULL,
    v real[] NOT NULL,
    PRIMARY KEY (subject, at)
) WITH (autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_insert_scale_factor = 1);

CREATE INDEX samples_at ON heroctl.samples (at);

-- The same in blocks: a row holds one metric of one subject for ten minutes, an hour, six hours; NaN: no sample.
CREATE TABLE heroctl.samples_10s (
    subject integer NOT NULL,
    metric smallint NOT NULL,
    start bigint NOT NULL,
    mean real[] NOT NULL,
    PRIMARY KEY (subject, metric, start)
) PARTITION BY RANGE (start);

CREATE TABLE heroctl.samples_1m (
    subject integer NOT NULL,
    metric smallint NOT NULL,
    start bigint NOT NULL,
    mean real[] NOT NULL,
    peak real[] NOT NULL,
    PRIMARY KEY (subject, metric, start)
) PARTITION BY RANGE (start);

CREATE TABLE heroctl.samples_5m (LIKE heroctl.samples_1m INCLUDING ALL) PARTITION BY RANGE (start);

-- Blocks of a resolution (s) are complete up to `until`; what is younger is found in the next finer one.
CREATE TABLE heroctl.samples_rolled (
    resolution integer PRIMARY KEY,
    until bigint NOT NULL
);

INSERT INTO heroctl.samples_rolled VALUES (10, 0), (60, 0), (300, 0);

-- The newest exposition of each allocation whose job has a `metrics:` block, and the counters of each process. A crash
-- may forget them: the next ones are seconds away.
CREATE UNLOGGED TABLE heroctl.expositions (
    kind text COLLATE "C" NOT NULL, -- alloc, process
    name text COLLATE "C" NOT NULL,
    at bigint NOT NULL, -- s
    families bytea NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Makes the partition that a block belongs into, of `p_span` seconds. Only who rolls writes into it.
CREATE FUNCTION heroctl.sample_partition(p_table text, p_start bigint, p_span bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    v_first bigint := p_start / p_span * p_span;
    v_name text := p_table || '_' || v_first;
BEGIN
    IF p_table NOT IN ('samples_10s', 'samples_1m', 'samples_5m') OR to_regclass('heroctl.' || v_name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE heroctl.%I (LIKE heroctl.%I INCLUDING ALL)', v_name, p_table);
    EXECUTE format('ALTER TABLE heroctl.%I ATTACH PARTITION heroctl.%I FOR VALUES FROM (%s) TO (%s)',
        p_table, v_name, v_first, v_first + p_span);
END $$;

-- Drops the partitions that end before `p_before`; returns how many went.
CREATE FUNCTION heroctl.drop_samples(p_table text, p_span bigint, p_before bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    v_name text;
    v_gone integer := 0;
BEGIN
    IF p_table NOT IN ('samples_10s', 'samples_1m', 'samples_5m') THEN
        RETURN 0;
    END IF;
    FOR v_name IN
        SELECT c.relname FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
        WHERE i.inhparent = ('heroctl.' || p_table)::regclass
            AND substring(c.relname FROM '[0-9]+$')::bigint + p_span <= p_before
        ORDER BY 1
    LOOP
        EXECUTE format('DROP TABLE heroctl.%I', v_name);
        v_gone := v_gone + 1;
    END LOOP;
    RETURN v_gone;
END $$;

-- Brings ten minutes of samples of some subjects into blocks. Done twice, it does nothing.
CREATE FUNCTION heroctl.roll_samples(p_start bigint, p_from integer, p_to integer) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp SET synchronous_commit = off AS $$
BEGIN
    INSERT INTO samples_10s (subject, metric, start, mean)
    SELECT g.subject, m.metric, p_start, m.mean
    FROM (
        SELECT s.subject,
            array_agg(coalesce(r.v[1], 'NaN') ORDER BY n.i) AS v1, array_agg(coalesce(r.v[2], 'NaN') ORDER BY n.i) AS v2,
            array_agg(coalesce(r.v[3], 'NaN') ORDER BY n.i) AS v3, array_agg(coalesce(r.v[4], 'NaN') ORDER BY n.i) AS v4,
            array_agg(coalesce(r.v[5], 'NaN') ORDER BY n.i) AS v5, array_agg(coalesce(r.v[6], 'NaN') ORDER BY n.i) AS v6,
            array_agg(coalesce(r.v[7], 'NaN') ORDER BY n.i) AS v7, array_agg(coalesce(r.v[8], 'NaN') ORDER BY n.i) AS v8,
            array_agg(coalesce(r.v[9], 'NaN') ORDER BY n.i) AS v9, array_agg(coalesce(r.v[10], 'NaN') ORDER BY n.i) AS v10,
            array_agg(coalesce(r.v[11], 'NaN') ORDER BY n.i) AS v11,
            array_agg(coalesce(r.v[12], 'NaN') ORDER BY n.i) AS v12,
            array_agg(coalesce(r.v[13], 'NaN') ORDER BY n.i) AS v13
        FROM (
            SELECT DISTINCT f.subject FROM samples f
            WHERE f.subject >= p_from AND f.subject < p_to AND f.at >= p_start AND f.at < p_start + 600
        ) AS s
        CROSS JOIN generate_series(0, 59) AS n(i)
        LEFT JOIN samples r ON r.subject = s.subject AND r.at = p_start + n.i * 10
        GROUP BY s.subject
    ) AS g,
    LATERAL (VALUES (1, g.v1), (2, g.v2), (3, g.v3), (4, g.v4), (5, g.v5), (6, g.v6), (7, g.v7), (8, g.v8), (9, g.v9),
        (10, g.v10), (11, g.v11), (12, g.v12), (13, g.v13)) AS m(metric, mean)
    WHERE m.mean <> array_fill('NaN'::real, ARRAY[60])
    ON CONFLICT DO NOTHING;
END $$;

-- Brings blocks of some subjects into one of the next coarser resolution, which has `p_points` of them, each of
-- `p_ratio` finer ones that are `p_fine` seconds long. Done twice, it does nothing.
CREATE FUNCTION heroctl.roll_blocks(
    p_table text, p_finer text, p_fine bigint, p_ratio bigint, p_points bigint, p_start bigint, p_from integer, p_to integer
) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp SET synchronous_commit = off SET work_mem = '64MB' AS $$
BEGIN
    EXECUTE format($sql$
        WITH blocks AS (
            SELECT b.subject, b.metric, b.start, b.mean, %s AS peak FROM %I b
            WHERE b.subject >= $1 AND b.subject < $2 AND b.start >= $3 AND b.start < $3 + $4 * $5 * $6
        ), points AS (
            SELECT subject, metric, (b.start - $3) / ($4 * $5) + (u.o - 1) / $5 AS i, u.v, u.p
            FROM blocks b, unnest(b.mean, b.peak) WITH ORDINALITY AS u(v, p, o)
            UNION ALL
            SELECT k.subject, k.metric, g, 'NaN'::real, 'NaN'::real
            FROM (SELECT DISTINCT subject, metric FROM blocks) AS k, generate_series(0, $6 - 1) AS g
        ), made AS (
            SELECT subject, metric, i, coalesce(avg(v) FILTER (WHERE v <> 'NaN'), 'NaN')::real AS mean,
                coalesce(max(p) FILTER (WHERE p <> 'NaN'), 'NaN')::real AS peak
            FROM points GROUP BY subject, metric, i
        )
        INSERT INTO %I (subject, metric, start, mean, peak)
        SELECT subject, metric, $3, array_agg(mean ORDER BY i), array_agg(peak ORDER BY i)
        FROM made GROUP BY subject, metric ON CONFLICT DO NOTHING$sql$,
        CASE WHEN p_finer = 'samples_10s' THEN 'b.mean' ELSE 'b.peak' END, p_finer, p_table)
    USING p_from, p_to, p_start, p_fine, p_ratio, p_points;
END $$;
