-- depends: 0003.rows
-- The log's level: which events may be in it. Raised only, and told by an event.

-- Refused unless the log is at the level and, where one is given (not -1), the epoch that the caller read, and as long
-- as a process lives that could not fold what may be written then.
CREATE FUNCTION heroctl.raise_level(
    p_epoch bigint, p_held integer, p_level integer, p_tag text, p_schema integer, p_data bytea
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_head head%ROWTYPE;
BEGIN
    SELECT * INTO STRICT v_head FROM head FOR UPDATE;
    IF v_head.level <> p_held OR p_level <= p_held OR (p_epoch >= 0 AND v_head.epoch <> p_epoch) THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM members m WHERE m.seen > clock_timestamp() - interval '15 seconds' AND m.level < p_level;
    IF FOUND THEN
        RETURN false;
    END IF;
    UPDATE head SET level = p_level;
    PERFORM append_one(p_epoch, p_tag, p_schema, p_data);
    RETURN true;
END $$;
