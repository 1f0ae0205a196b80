-- depends: 0011.clocks
-- What webhooks are told, and how that went: a row for each event and webhook, until it is old. Whatever was said by
-- others is bytes.

CREATE TABLE heroctl.deliveries (
    webhook text COLLATE "C" NOT NULL,
    index bigint NOT NULL, -- of the event
    id text NOT NULL, -- of the event, as it is known outside
    type text NOT NULL,
    needs bytea NOT NULL, -- the right that its reader must have
    body bytea NOT NULL,
    at bigint NOT NULL, -- when it happened, as all times in ms
    state text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0, -- ever
    tried integer NOT NULL DEFAULT 0, -- since it was to be told, or told again
    due bigint NOT NULL, -- when it is to be tried
    last_at bigint,
    took integer,
    status integer,
    error bytea,
    answer bytea,
    PRIMARY KEY (webhook, index)
) WITH (fillfactor = 70);

CREATE INDEX deliveries_first ON heroctl.deliveries (webhook, index) WHERE state = 'pending' AND tried = 0;
CREATE INDEX deliveries_due ON heroctl.deliveries (webhook, due) WHERE state = 'pending' AND tried > 0;
CREATE INDEX deliveries_over ON heroctl.deliveries (due) WHERE state <> 'pending';
