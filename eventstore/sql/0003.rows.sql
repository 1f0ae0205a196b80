-- depends: 0002.append
-- Everything durable that is no event: who coordinates, who lives, and what must stay secret.

CREATE TABLE heroctl.lease (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    expires timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10);

INSERT INTO heroctl.lease DEFAULT VALUES;

-- The take-over, whole or not at all: the lease's row, the fencing epoch and the event. It is refused unless the log is
-- at the epoch that the caller read (its event names the next one), and the lease has run out, is the candidate's own,
-- or is given away by its holder `p_by`.
CREATE FUNCTION heroctl.elect(
    p_holder text, p_by text, p_epoch bigint, p_seconds double precision, p_tag text, p_schema integer, p_data bytea
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    v_epoch bigint;
BEGIN
    SELECT h.epoch INTO STRICT v_epoch FROM head h FOR UPDATE;
    IF v_epoch <> p_epoch THEN
        RETURN false;
    END IF;
    UPDATE lease SET holder = p_holder, epoch = v_epoch + 1, expires = clock_timestamp() + p_seconds * interval '1 second'
    WHERE CASE WHEN p_by <> '' THEN holder = p_by AND epoch = v_epoch AND expires > clock_timestamp()
        ELSE holder = p_holder OR expires <= clock_timestamp() END;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE head SET epoch = v_epoch + 1;
    PERFORM append_one(v_epoch + 1, p_tag, p_schema, p_data);
    RETURN true;
END $$;

CREATE TABLE heroctl.members (
    id text COLLATE "C" PRIMARY KEY,
    role text NOT NULL,
    address text NOT NULL,
    version text NOT NULL,
    level integer NOT NULL,
    index bigint NOT NULL,
    seen timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Counters that a crash may forget: the next beat is two seconds away.
CREATE UNLOGGED TABLE heroctl.beats (
    node text COLLATE "C" PRIMARY KEY,
    session bigint NOT NULL,
    count bigint NOT NULL,
    applied bigint
) WITH (fillfactor = 50);

CREATE TABLE heroctl.vault (
    id text COLLATE "C" PRIMARY KEY,
    kind text NOT NULL,
    bytes bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
