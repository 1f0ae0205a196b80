-- depends: 0003.rows
-- The job in hand: what the holder of the lease was planning when it died.

ALTER TABLE heroctl.lease
    ADD COLUMN hand bigint NOT NULL DEFAULT 0, -- the job's uid
    ADD COLUMN hand_epoch bigint NOT NULL DEFAULT 0; -- under which it was noted

-- Need not survive the database, only its writer: it waits for no disk.
CREATE FUNCTION heroctl.hold(p_holder text, p_epoch bigint, p_uid bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE lease SET hand = p_uid, hand_epoch = p_epoch
    WHERE holder = p_holder AND epoch = p_epoch AND expires > clock_timestamp();
    RETURN FOUND;
END $$;
