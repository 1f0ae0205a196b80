"""Tests of the event store: one contract for every log, and what only the real one can show."""
