-- depends: 0004.sessions
-- Where the kept log begins, and who must have read what goes.

-- The kept log begins after this place: an append's end and its chain. Nobody reads from before it.
CREATE TABLE heroctl.floor (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    index bigint NOT NULL DEFAULT 0,
    chain bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex')
);

INSERT INTO heroctl.floor DEFAULT VALUES;

-- True, or an error: the log is not kept from there on. A page asks with the rows, in one statement: one that sees
-- less than before, since a partition is going, sees the floor as well, which was raised before.
CREATE FUNCTION heroctl.kept(p_after bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_floor bigint;
BEGIN
    SELECT f.index INTO STRICT v_floor FROM heroctl.floor f;
    IF p_after < v_floor THEN
        RAISE EXCEPTION 'the log is kept after index % only', v_floor USING ERRCODE = '22HC1', DETAIL = v_floor::text;
    END IF;
    RETURN true;
END $$;

-- How far each reader has come that goes through the log event by event, and may not miss one.
CREATE TABLE heroctl.cursors (
    name text COLLATE "C" PRIMARY KEY,
    index bigint NOT NULL
) WITH (fillfactor = 50);

-- Begins a cursor, unless it is there or the log does not reach back so far; answers whether it stands.
CREATE FUNCTION heroctl.begin_cursor(p_name text, p_index bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp AS $$
BEGIN
    LOCK TABLE cursors IN ROW EXCLUSIVE MODE; -- waits for a floor that is being raised
    INSERT INTO cursors SELECT p_name, p_index WHERE p_index >= (SELECT f.index FROM floor f) ON CONFLICT DO NOTHING;
    RETURN EXISTS (SELECT FROM cursors c WHERE c.name = p_name);
END $$;

-- Gives up the oldest partition, in word: the log begins after `p_index`, the end of the append that holds its last
-- event. What is dropped afterwards is what lies below. Only the owner may, as no other may delete from `partitions`.
-- Refused unless the epoch is the coordinator's, every cursor is past it, and the head is two partitions further.
CREATE FUNCTION heroctl.raise_floor(p_epoch bigint, p_first bigint, p_index bigint, p_chain bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = heroctl, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    LOCK TABLE cursors IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM partitions p WHERE p.first = p_first AND p.first = (SELECT min(o.first) FROM partitions o)
        AND EXISTS (SELECT FROM events e WHERE e.index = p.stop - 1 AND e.last = p_index)
        AND EXISTS (SELECT FROM events e WHERE e.index = p_index AND e.chain = p_chain)
        AND EXISTS (SELECT FROM head h, partitions n WHERE h.epoch = p_epoch AND n.first = p.stop AND h.index >= n.stop)
        AND NOT EXISTS (SELECT FROM cursors c WHERE c.index < p_index);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE floor SET index = p_index, chain = p_chain;
    RETURN true;
END $$;
