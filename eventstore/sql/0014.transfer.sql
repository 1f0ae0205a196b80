-- depends: 0008.level
-- The lease handed to another reconciler because somebody asks for it: lease, fencing epoch and events in one.

-- Refused unless the log is at the epoch that the caller read (`moved`), the lease is held under it (`vacant`), and by
-- another than the target (`held`), which must live as a reconciler that can fold what is in the log (`gone`). `r_why` is
-- '' where it was done, or where the client's key says that it was before (`r_again`; `reused`: of another body).
CREATE FUNCTION heroctl.transfer(
    p_target text, p_epoch bigint, p_seconds double precision, p_live double precision,
    p_meta bytea, p_digest bytea, p_tags text[], p_schemas integer[], p_datas bytea[], p_keys bytea[], p_bodies bytea[],
    OUT r_why text, OUT r_first bigint, OUT r_last bigint, OUT r_again boolean
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_head head%ROWTYPE;
    v_lease lease%ROWTYPE;
    v_known keys%ROWTYPE;
    v_events integer := cardinality(p_tags);
BEGIN
    r_again := false;
    SELECT * INTO STRICT v_head FROM head FOR UPDATE;
    IF cardinality(p_keys) > 0 THEN
        SELECT * INTO v_known FROM keys k WHERE k.key = p_keys[1]
        AND k.at > greatest(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, v_head.time) - 86400000;
        IF FOUND THEN
            r_why := CASE WHEN v_known.body = p_bodies[1] THEN '' ELSE 'reused' END;
            r_first := v_known.first;
            r_last := v_known.last;
            r_again := true;
            RETURN;
        END IF;
    END IF;
    SELECT * INTO STRICT v_lease FROM lease FOR UPDATE;
    r_why := CASE
        WHEN v_head.epoch <> p_epoch THEN 'moved'
        WHEN v_lease.holder = '' OR v_lease.epoch <> v_head.epoch OR v_lease.expires <= clock_timestamp() THEN 'vacant'
        WHEN v_lease.holder = p_target THEN 'held'
        WHEN NOT EXISTS (
            SELECT FROM members m WHERE m.id = p_target AND m.role = 'reconciler' AND m.level >= v_head.level
            AND m.seen > clock_timestamp() - p_live * interval '1 second') THEN 'gone'
        ELSE '' END;
    IF r_why <> '' THEN
        RETURN;
    END IF;
    UPDATE lease SET holder = p_target, epoch = p_epoch + 1, expires = clock_timestamp() + p_seconds * interval '1 second';
    UPDATE head SET epoch = p_epoch + 1;
    SELECT a.r_firsts[1], a.r_lasts[1] INTO STRICT r_first, r_last FROM append(
        gen_random_uuid(), ARRAY[p_epoch + 1], ARRAY[v_events], ARRAY[p_meta], ARRAY[p_digest],
        array_fill(1, ARRAY[v_events]), p_tags, p_schemas, p_datas, '{}', '{}', '{}', '{}', '{}',
        array_fill(1, ARRAY[cardinality(p_keys)]), p_keys, p_bodies, '{0}', '{}', '{}') AS a;
END $$;
