-- depends: 0010.uses
-- How far a process's clock is ahead of this database's, as far as it has found out: ms, less than nothing: behind.

ALTER TABLE heroctl.members ADD COLUMN skew bigint;
ALTER TABLE heroctl.beats ADD COLUMN skew bigint;
