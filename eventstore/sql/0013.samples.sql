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

-- Blocks of a resolution (s) are complete up to `until`; what is younger is found in the next finer one. Of the block
-- that is being made, the one from `block` on, subjects up to `subject` are there.
CREATE TABLE heroctl.samples_rolled (
    resolution integer PRIMARY KEY,
    until bigint NOT NULL,
    block bigint NOT NULL DEFAULT 0,
    subject integer NOT NULL DEFAULT 0
);

INSERT INTO heroctl.samples_rolled VALUES (10, 0), (60, 0), (300, 0);

-- The newest exposition of each allocation whose job has a `metrics:` block, and the counters of each process. A crash
-- may forget them: the next ones are seconds away.
CREATE UNLOGGED TABLE heroctl.expositions (
    kind text COLLATE "C" NOT NULL, -- alloc, process
    name text COLLATE "C" NOT NULL,
    at bigint NOT NULL, -- s
    families bytea NOT NULL,
    series integer NOT NULL,
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

-- Brings ten minutes of samples, of `p_metrics` values each, into blocks: of the next `p_most` subjects after `p_after`
-- that have any. Returns the last of these, NULL: there are no more. Done twice, it does nothing.
CREATE FUNCTION heroctl.roll_samples(p_start bigint, p_after integer, p_most integer, p_metrics integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp SET synchronous_commit = off AS $$
DECLARE
    v_subjects integer[] := ARRAY(
        SELECT DISTINCT f.subject FROM samples f
        WHERE f.subject > p_after AND f.at >= p_start AND f.at < p_start + 600 ORDER BY f.subject LIMIT p_most
    );
    v_last integer := v_subjects[cardinality(v_subjects)];
BEGIN
    IF v_last IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE (
        SELECT format($sql$
            INSERT INTO samples_10s (subject, metric, start, mean)
            SELECT g.subject, m.metric, $1, m.mean
            FROM (
                SELECT s.subject, %s FROM unnest($2) AS s(subject)
                CROSS JOIN generate_series(0, 59) AS n(i)
                LEFT JOIN samples r ON r.subject = s.subject AND r.at = $1 + n.i * 10
                GROUP BY s.subject
            ) AS g, LATERAL (VALUES %s) AS m(metric, mean)
            WHERE m.mean <> $3 ON CONFLICT DO NOTHING$sql$,
            string_agg(format('array_agg(coalesce(r.v[%s], ''NaN'') ORDER BY n.i) AS v%s', k, k), ', '),
            string_agg(format('(%s, g.v%s)', k, k), ', '))
        FROM generate_series(1, p_metrics) AS k)
    USING p_start, v_subjects, array_fill('NaN'::real, ARRAY[60]);
    UPDATE samples_rolled SET block = p_start, subject = v_last
    WHERE resolution = 10 AND (block, subject) < (p_start, v_last);
    RETURN v_last;
END $$;

-- Brings blocks of the next `p_most` subjects after `p_after` that have any into one of the next coarser resolution, which
-- has `p_points` of them, each of `p_ratio` finer ones that are `p_fine` seconds long. Returns the last subject, NULL: there
-- are no more. Done twice, it does nothing. What is written out for each point is ten times as fast as unfolding arrays,
-- which is done for points with a hole only; NaN is the sum, and the greatest, of what has one.
CREATE FUNCTION heroctl.roll_blocks(
    p_table text, p_finer text, p_fine bigint, p_ratio integer, p_points integer, p_start bigint, p_after integer,
    p_most integer
) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp SET synchronous_commit = off AS $$
DECLARE
    v_block bigint := p_fine * 60; -- seconds of a finer block
    v_points integer := 60 / p_ratio; -- that it becomes
    v_blocks integer := p_points / v_points;
    v_peak text := CASE WHEN p_finer = 'samples_10s' THEN 'mean' ELSE 'peak' END;
    v_means text;
    v_peaks text;
    v_subjects integer[];
    v_last integer;
BEGIN
    EXECUTE format($sql$
        SELECT ARRAY(
            SELECT DISTINCT b.subject FROM %I b WHERE b.subject > $1 AND b.start >= $2 AND b.start < $3
            ORDER BY b.subject LIMIT $4)$sql$, p_finer)
    INTO v_subjects USING p_after, p_start, p_start + v_block * v_blocks, p_most;
    v_last := v_subjects[cardinality(v_subjects)];
    IF v_last IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT
        string_agg(format($sql$coalesce(nullif((%s) / %s, 'NaN'),
            (SELECT avg(v)::real FROM unnest(mean[%s:%s]) AS v WHERE v <> 'NaN'), 'NaN')$sql$,
            each.sum, p_ratio, each.first, each.last), ', '),
        string_agg(format($sql$coalesce(nullif(greatest(%s), 'NaN'),
            (SELECT max(v) FROM unnest(%I[%s:%s]) AS v WHERE v <> 'NaN'), 'NaN')$sql$,
            each.list, v_peak, each.first, each.last), ', ')
    INTO v_means, v_peaks
    FROM (
        SELECT min(i) AS first, max(i) AS last, string_agg(format('mean[%s]', i), ' + ') AS sum,
            string_agg(format('%I[%s]', v_peak, i), ', ') AS list
        FROM generate_series(1, 60) AS i GROUP BY (i - 1) / p_ratio ORDER BY 1
    ) AS each;
    EXECUTE (
        SELECT format($sql$
            INSERT INTO %I (subject, metric, start, mean, peak)
            SELECT subject, metric, $2, %s, %s FROM (
                SELECT subject, metric, (start - $2) / $3 AS k, ARRAY[%s] AS mean, ARRAY[%s] AS peak FROM %I
                WHERE subject = ANY($1) AND start >= $2 AND start < $2 + $3 * $4
            ) AS folded GROUP BY subject, metric ON CONFLICT DO NOTHING$sql$,
            p_table, string_agg(format('coalesce(max(mean) FILTER (WHERE k = %s), $5)', k), ' || '),
            string_agg(format('coalesce(max(peak) FILTER (WHERE k = %s), $5)', k), ' || '), v_means, v_peaks, p_finer)
        FROM generate_series(0, v_blocks - 1) AS k)
    USING v_subjects, p_start, v_block, v_blocks, array_fill('NaN'::real, ARRAY[v_points]);
    UPDATE samples_rolled SET block = p_start, subject = v_last
    WHERE resolution = p_fine * p_ratio AND (block, subject) < (p_start, v_last);
    RETURN v_last;
END $$;
