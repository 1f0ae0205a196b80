"""Recorded histories: logs of former releases, which every later release must fold to the same state.

One event a line: index, last index of its append, time, tag, schema, meta and data as stored; on an append's last event
the hash chain, too. Beside each `<name>.ndjson` stands `<name>.golden.json`: what its fold amounts to. From its release
on a file is never written again (`FROZEN`); new events get a file of their own.
"""
