"""A marked value, and all the places where nobody may find it: in plain, or in what it is easily written as."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from redis import Redis

Places = dict[str, bytes]  # what is kept, or was said, where

_TABLES: Final = """
    SELECT relname::text FROM pg_class WHERE relnamespace = 'heroctl'::regnamespace AND relkind IN ('r', 'p')
    AND NOT starts_with(relname::text, 'events_') ORDER BY relname"""


def marked() -> bytes:
    """Draw a value that stands nowhere by chance, and that JSON and URLs write in another way."""
    return f'ca"{secrets.token_hex(6)}/\\+n%ä{secrets.token_hex(6)}ry'.encode()


def forms(value: bytes) -> Mapping[str, bytes]:
    """Give all that a value is looked for as."""
    text = value.decode()
    found = {
        "plain": value,
        "hex": value.hex().encode(),
        "HEX": value.hex().upper().encode(),
        "url": urllib.parse.quote(text, safe="").encode(),
        "form": urllib.parse.quote_plus(text).encode(),
        "json": json.dumps(text)[1:-1].encode(),
        "json, not ascii": json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        "repr": repr(value)[2:-1].encode(),
        "backwards": value[::-1],
    }
    for shift in range(3):  # wherever it stands in what is encoded as a whole
        whole = base64.b64encode(b"\0" * shift + value)
        inner = whole[4 * (shift > 0) : -4]
        found |= {f"base64+{shift}": inner, f"base64url+{shift}": inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def found(value: bytes, places: Mapping[str, bytes]) -> list[str]:
    """Name the places that hold a value, and as what."""
    looked = forms(value)
    return sorted(f"{place}: {form}" for place, held in places.items() for form, word in looked.items() if word in held)


def of_database(dsn: str) -> Places:
    """Take every row of every table as it is kept; what is packed is looked at as it was before, too."""
    places: Places = {}
    with psycopg.connect(dsn) as connection:
        for (table,) in connection.execute(_TABLES).fetchall():
            name = sql.Identifier("heroctl", table)
            copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT binary)").format(name)
            with connection.cursor() as cursor, cursor.copy(copy) as rows:
                places[f"table {table}"] = b"".join(bytes(row) for row in rows)
        packed = connection.execute("SELECT snapshot, data FROM heroctl.snapshot_rows ORDER BY snapshot, number")
        snapshots: dict[object, bytes] = {}
        for snapshot, row in packed.fetchall():
            snapshots[snapshot] = snapshots.get(snapshot, b"") + bytes(row)
    places |= {f"snapshot {number}": zlib.decompress(held) for number, held in enumerate(snapshots.values())}
    return places


def of_redis(url: str) -> Places:
    """Take every key and what is under it."""
    with Redis.from_url(url) as redis:
        names: list[bytes] = list(redis.scan_iter())
        return {f"key {name.decode(errors='replace')}": name + b" " + _held(redis, name) for name in names}


def _held(redis: Any, name: bytes) -> bytes:  # noqa: ANN401 - its answers are of any shape
    match redis.type(name):
        case b"string":
            return bytes(redis.get(name))
        case b"hash":
            return b" ".join(part for pair in redis.hgetall(name).items() for part in pair)
        case b"stream":
            return b" ".join(part for _, entry in redis.xrange(name) for pair in entry.items() for part in pair)
        case b"list":
            return b" ".join(redis.lrange(name, 0, -1))
        case b"set":
            return b" ".join(redis.smembers(name))
        case b"zset":
            return b" ".join(redis.zrange(name, 0, -1))
        case other:
            raise AssertionError(f"nobody looked into a {other!r}")


def of_files(*folders: Path) -> Places:
    """Take every file below some folders; a socket or a pipe is none."""
    return {f"file {file}": file.read_bytes() for folder in folders for file in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink())


def of_deliveries(received: Iterable[tuple[Mapping[str, str], bytes]]) -> Places:
    """Take what receivers of webhooks were told, heads and bodies."""
    return {
        f"delivery {number}": "".join(f"{name}: {value}\n" for name, value in head.items()).encode() + body
        for number, (head, body) in enumerate(received)
    }


def of_arguments(pids: Iterable[int] = ()) -> Places:
    """Take the arguments of these processes, or else of all on this machine."""
    places: Places = {}
    for pid in pids or (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()):
        try:
            places[f"process {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
    return places
