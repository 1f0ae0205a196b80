-- depends: 0001.log
-- The append: many intents in one call, under the head row's lock, which is the first and the only one taken. VOLATILE
-- at READ COMMITTED, so that each statement sees every earlier append. Scalar sub-selects and no sequential scans: the
-- plans are kept for the session and were made when the tables were tiny.

-- Intents are numbered 1..n; `p_*_of` say whose an event, a moved stream, an expectation or a client's key is, in that
-- order. No intent may expect a stream that an earlier one of the same batch moves, or have its key: the caller begins
-- another batch before it. Only an intent with a key may be without events. `p_digests` are made by the writers from
-- metas, tags, schemas and datas, so that what is hashed under the lock is small, however much an append says. They are
-- believed; arrays that do not add up are an error: they would leave a gap, or skip a fence, an expectation or a key.
-- `p_view_of` names for each intent the place that its writer's view stood at, of `p_views` with their `p_chains`; 0: none.
-- Answers for each intent its place, `r_firsts` to `r_lasts` (without events the last is the one before), where
-- `r_expects` is 0, or -1: that is the place of the key's first append. Where `r_firsts` is 0 nothing was appended:
-- `r_expects` has the number of the expectation that failed and `r_lasts` its stream's version, or it is 0: fenced, or
-- -1: the key has another body, or -2: this log never was where the view stood, so that it shows another history. What
-- lies before the kept log cannot be compared.
-- Plans are kept whatever the arrays hold: one made for their very lengths looks cheaper each time, and costs more to
-- make than to run.
CREATE FUNCTION heroctl.append(
    p_batch uuid,
    p_epochs bigint[], p_counts integer[], p_metas bytea[], p_digests bytea[],
    p_event_of integer[], p_tags text[], p_schemas integer[], p_datas bytea[],
    p_move_of integer[], p_moves text[],
    p_expect_of integer[], p_expects text[], p_seen bigint[],
    p_key_of integer[], p_keys bytea[], p_bodies bytea[],
    p_view_of integer[], p_views bigint[], p_chains bytea[],
    OUT r_epoch bigint, OUT r_firsts bigint[], OUT r_expects integer[], OUT r_lasts bigint[]
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = heroctl, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '5s'
AS $$
DECLARE
    v_head head%ROWTYPE;
    v_batch batches%ROWTYPE;
    v_intents integer := cardinality(p_counts);
    v_keyed boolean := cardinality(p_keys) > 0;
    v_time bigint;
    v_index bigint;
    v_chain bytea;
    v_now bigint[];
    v_shifts bigint[] := array_fill(0::bigint, ARRAY[v_intents]);
    v_lasts bigint[] := array_fill(0::bigint, ARRAY[v_intents]);
    v_chains bytea[] := array_fill(''::bytea, ARRAY[v_intents]);
    v_known keys[];
    v_strange boolean[];
    v_view bigint;
    v_first keys;
    v_event integer := 0;
    v_expect integer := 1;
    v_key integer := 0;
    v_added bigint;
BEGIN
    IF (cardinality(p_epochs) = v_intents AND -1 <= ALL (p_epochs) AND 0 <= ALL (p_counts) AND 0 <= ALL (p_seen)
        AND cardinality(p_seen) = cardinality(p_expects) AND cardinality(p_view_of) = v_intents
        AND cardinality(p_views) = cardinality(p_chains) AND 0 <= ALL (p_views)
        AND 0 <= ALL (p_view_of) AND cardinality(p_views) >= ALL (p_view_of)) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'the arrays of an append do not add up' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO STRICT v_head FROM head FOR UPDATE;
    r_epoch := v_head.epoch;
    SELECT * INTO v_batch FROM batches b WHERE b.id = p_batch;
    IF FOUND THEN
        r_firsts := v_batch.firsts;
        r_expects := v_batch.expects;
        r_lasts := v_batch.lasts;
        FOR i IN 1 .. v_intents LOOP
            IF p_epochs[i] >= 0 AND p_epochs[i] <> v_head.epoch THEN
                r_firsts[i] := 0;
                r_expects[i] := 0;
            END IF;
        END LOOP;
        RETURN;
    END IF;

    r_firsts := array_fill(0::bigint, ARRAY[v_intents]);
    r_expects := array_fill(0, ARRAY[v_intents]);
    r_lasts := array_fill(0::bigint, ARRAY[v_intents]);
    v_time := greatest(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, v_head.time);
    v_index := v_head.index;
    v_chain := v_head.chain;
    IF v_keyed THEN
        v_known := ARRAY(
            SELECT (SELECT k FROM keys k WHERE k.key = e.key AND k.at > v_time - 86400000)
            FROM unnest(p_keys) WITH ORDINALITY AS e(key, n) ORDER BY e.n);
    END IF;
    IF cardinality(p_views) = 1 AND p_views[1] = v_index AND p_chains[1] = v_chain THEN
        v_strange[1] := false; -- as most do: the view stands at the head, and there is nothing to look up
    ELSE
        FOR i IN 1 .. cardinality(p_views) LOOP
            v_view := p_views[i]; -- so that one partition is looked into, and no other is opened
            v_strange[i] := v_view > (SELECT f.index FROM floor f) AND p_chains[i] IS DISTINCT FROM
                CASE WHEN v_view = v_index THEN v_chain ELSE (SELECT e.chain FROM events e WHERE e.index = v_view) END;
        END LOOP;
    END IF;
    IF cardinality(p_expects) > 0 THEN
        v_now := ARRAY(
            SELECT coalesce((SELECT s.last FROM streams s WHERE s.name = e.name), 0)
            FROM unnest(p_expects) WITH ORDINALITY AS e(name, n) ORDER BY e.n);
    END IF;

    FOR i IN 1 .. v_intents LOOP
        WHILE p_expect_of[v_expect] = i LOOP
            IF v_now[v_expect] > p_seen[v_expect] AND r_expects[i] = 0 THEN
                r_expects[i] := v_expect;
                r_lasts[i] := v_now[v_expect];
            END IF;
            v_expect := v_expect + 1;
        END LOOP;
        IF v_keyed THEN
            v_first := NULL;
            IF p_key_of[v_key + 1] = i THEN
                v_key := v_key + 1;
                v_first := v_known[v_key];
            END IF;
        END IF;
        IF p_epochs[i] >= 0 AND p_epochs[i] <> v_head.epoch THEN
            r_expects[i] := 0;
        ELSIF v_first.key IS NOT NULL THEN
            r_expects[i] := -1;
            IF v_first.body = p_bodies[v_key] THEN
                r_firsts[i] := v_first.first;
                r_lasts[i] := v_first.last;
            END IF;
        ELSIF v_strange[p_view_of[i]] THEN
            r_expects[i] := -2;
        ELSIF r_expects[i] = 0 THEN
            r_firsts[i] := v_index + 1;
            v_shifts[i] := v_index - v_event;
            v_index := v_index + p_counts[i];
            r_lasts[i] := v_index;
            IF p_counts[i] > 0 THEN
                v_lasts[i] := v_index;
                IF octet_length(p_digests[i]) <> 32 THEN
                    RAISE EXCEPTION 'a digest has 32 bytes' USING ERRCODE = 'invalid_parameter_value';
                END IF;
                v_chain := sha256(
                    v_chain || int8send(r_firsts[i]) || int8send(v_index) || int8send(v_time) || p_digests[i]);
                v_chains[i] := v_chain;
            END IF;
        END IF;
        v_event := v_event + p_counts[i];
    END LOOP;
    IF v_event < cardinality(p_event_of) OR v_expect <= cardinality(p_expects) OR v_key < cardinality(p_keys) THEN
        RAISE EXCEPTION 'an event, an expectation or a key is of no intent' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF v_keyed THEN
        INSERT INTO keys (key, body, first, last, at)
        SELECT e.key, e.body, r_firsts[e.i], r_lasts[e.i], v_time
        FROM unnest(p_key_of, p_keys, p_bodies) AS e(i, key, body)
        WHERE r_firsts[e.i] > 0 AND r_expects[e.i] = 0
        ON CONFLICT (key) DO UPDATE
        SET body = EXCLUDED.body, first = EXCLUDED.first, last = EXCLUDED.last, at = EXCLUDED.at;
        v_keyed := FOUND;
    END IF;
    IF v_keyed OR v_index > v_head.index THEN
        INSERT INTO batches VALUES (p_batch, clock_timestamp(), r_firsts, r_expects, r_lasts);
    END IF;
    IF v_index = v_head.index THEN
        RETURN; -- a refused intent leaves no trace
    END IF;

    INSERT INTO events (index, last, time, tag, schema, meta, data, chain)
    SELECT v_shifts[e.i] + e.n, v_lasts[e.i], v_time, e.tag, e.schema, p_metas[e.i], e.data,
        CASE WHEN v_shifts[e.i] + e.n = v_lasts[e.i] THEN v_chains[e.i] END
    FROM unnest(p_event_of, p_tags, p_schemas, p_datas) WITH ORDINALITY AS e(i, tag, schema, data, n)
    WHERE v_shifts[e.i] + e.n BETWEEN r_firsts[e.i] AND v_lasts[e.i];
    GET DIAGNOSTICS v_added = ROW_COUNT;
    IF v_added <> v_index - v_head.index THEN
        RAISE EXCEPTION 'the events are not as they were counted' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF cardinality(p_moves) > 0 THEN
        INSERT INTO streams (name, last)
        SELECT m.name, max(v_lasts[m.i]) FROM unnest(p_move_of, p_moves) AS m(i, name)
        WHERE v_lasts[m.i] > 0 GROUP BY m.name
        ON CONFLICT (name) DO UPDATE SET last = EXCLUDED.last;
    END IF;
    UPDATE head SET index = v_index, chain = v_chain, time = v_time;
    PERFORM pg_notify('heroctl', v_index::text);
END $$;

-- One event that the store itself appends, from within its own functions.
CREATE FUNCTION heroctl.append_one(p_epoch bigint, p_tag text, p_schema integer, p_data bytea) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
    SELECT r_firsts[1] FROM append(
        gen_random_uuid(), ARRAY[p_epoch], ARRAY[1], ARRAY['{}'::bytea],
        ARRAY[sha256(
            int4send(2) || '{}'::bytea || int4send(octet_length(p_tag)) || convert_to(p_tag, 'UTF8')
            || int4send(p_schema) || int4send(octet_length(p_data)) || p_data)],
        ARRAY[1], ARRAY[p_tag], ARRAY[p_schema], ARRAY[p_data],
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{0}', '{}', '{}')
$$;

-- Which server this history lives on: another system identifier or timeline may be another history.
CREATE FUNCTION heroctl.origin() RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
    SELECT s.system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system() s
$$;

-- Begins an empty log with its first event; answers whether it was empty.
CREATE FUNCTION heroctl.begin_log(p_incarnation text, p_tag text, p_schema integer, p_data bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
BEGIN
    PERFORM 1 FROM head FOR UPDATE;
    UPDATE head SET incarnation = p_incarnation, origin = origin() WHERE index = 0;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM append_one(-1, p_tag, p_schema, p_data);
    RETURN true;
END $$;

-- The names that this log had when it was named anew, and those of the histories that it took the place of.
CREATE TABLE heroctl.incarnations (
    name text COLLATE "C" PRIMARY KEY
);

-- Gives the log another incarnation, and the event that says so: if it still has the one that the caller held, or if it
-- knows nothing of that one, being an older copy from before it was drawn, and nobody has come from there before.
CREATE FUNCTION heroctl.redraw(
    p_held text, p_incarnation text, p_tag text, p_schema integer, p_data bytea
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
BEGIN
    PERFORM 1 FROM head FOR UPDATE;
    UPDATE head SET incarnation = p_incarnation, origin = origin()
    WHERE incarnation = p_held
        OR (p_held <> '' AND NOT EXISTS (SELECT FROM incarnations i WHERE i.name = p_held));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO incarnations VALUES (p_held), (p_incarnation) ON CONFLICT DO NOTHING;
    PERFORM append_one(-1, p_tag, p_schema, p_data);
    RETURN true;
END $$;
