-- depends: 0006.retention
-- The audit: what somebody did stands in the log, what somebody was refused stands here.

-- What people and machines do is little beside what they cause: found without reading all that was placed and reported.
-- A tag that is not named here is in the index, so that a new one cannot be forgotten. `eventstore.acts` says the same.
CREATE INDEX events_acts ON heroctl.events (index) WHERE tag <> ALL (ARRAY[
    'alloc.failed', 'alloc.given_up', 'alloc.placed', 'alloc.reported', 'alloc.stopping',
    'deployment.finished', 'job.blocked', 'job.deployed'] COLLATE "C");

-- One row for the same refusal to the same caller within some minutes, whichever process said it. `key` is a digest of
-- what makes it the same; `known`: the caller had a good token. Text is cut and cleaned by who writes it. Times in ms.
CREATE TABLE heroctl.refusals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    known boolean NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    count bigint NOT NULL,
    actor text NOT NULL,
    address text NOT NULL,
    request_id text NOT NULL,
    method text NOT NULL,
    route text NOT NULL,
    path text NOT NULL,
    status integer NOT NULL,
    code text NOT NULL,
    tried text NOT NULL,
    namespace text NOT NULL,
    job text NOT NULL
);

CREATE INDEX refusals_known ON heroctl.refusals (known, id);
CREATE INDEX refusals_first ON heroctl.refusals (first);

-- Adds refusals, the same ones to what stands there, and forgets the oldest: so many are kept of those with a good token,
-- and so many of the others, so that strangers cannot push out what insiders did; none for longer than thirty days.
-- Need not survive a crash of the database by the last second: it waits for no disk.
CREATE FUNCTION heroctl.note_refusals(p_rows bytea, p_most bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = heroctl, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    v_now bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO refusals (
        key, known, first, last, count, actor, address, request_id, method, route, path, status, code, tried, namespace, job)
    SELECT decode(n.key, 'hex'), n.known, v_now, v_now, n.count, n.actor, n.address, n.request_id, n.method, n.route,
        n.path, n.status, n.code, n.tried, n.namespace, n.job
    FROM json_to_recordset(convert_from(p_rows, 'UTF8')::json) AS n(
        key text, known boolean, count bigint, actor text, address text, request_id text, method text, route text,
        path text, status integer, code text, tried text, namespace text, job text)
    ORDER BY n.key -- so that two processes never wait for each other in a circle
    ON CONFLICT (key) DO UPDATE SET last = EXCLUDED.last, count = refusals.count + EXCLUDED.count;
    DELETE FROM refusals r WHERE r.first < v_now - 2592000000;
    DELETE FROM refusals r WHERE r.known
        AND r.id <= (SELECT o.id FROM refusals o WHERE o.known ORDER BY o.id DESC OFFSET p_most LIMIT 1);
    DELETE FROM refusals r WHERE NOT r.known
        AND r.id <= (SELECT o.id FROM refusals o WHERE NOT o.known ORDER BY o.id DESC OFFSET p_most LIMIT 1);
END $$;
