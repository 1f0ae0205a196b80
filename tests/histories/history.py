"""Reading, writing and folding a recorded history; and what its state amounts to, in a digest and in words.

`python -m tests.histories.history NAME ...` writes golden files anew: when a fold changed before its release.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from eventstore import codec
from eventstore.log import Position, Row
from heroctl.domain.evolve import evolve
from heroctl.domain.state import State, job_status

FOLDER: Final = Path(__file__).parent


class Line(Struct, omit_defaults=True):
    """One event as it stands in a file. `Raw` keeps the bytes of meta and data as the log had them."""

    index: int
    last: int
    time: int
    tag: str
    schema: int
    meta: Raw
    data: Raw
    chain: str = ""


_LINE: Final = msgspec.json.Decoder(Line)


def names() -> list[str]:
    """Name every recorded history."""
    return sorted(file.stem for file in FOLDER.glob("*.ndjson"))


def read(name: str) -> list[Row]:
    """Read a history's rows, in order."""
    with (FOLDER / f"{name}.ndjson").open("rb") as file:
        return [_row(_LINE.decode(line)) for line in file]


def _row(line: Line) -> Row:
    meta, data = bytes(line.meta), bytes(line.data)
    chain = bytes.fromhex(line.chain) or None
    return line.index, line.last, line.time, line.tag, line.schema, meta, data, chain


def write(name: str, rows: Iterable[Row]) -> None:
    """Write a history and its golden file. FileExistsError: histories are kept, not replaced."""
    rows = list(rows)
    with (FOLDER / f"{name}.ndjson").open("xb") as file:
        for index, last, time, tag, schema, meta, data, chain in rows:
            line = Line(index, last, time, tag, schema, Raw(meta), Raw(data), chain.hex() if chain else "")
            file.write(msgspec.json.encode(line) + b"\n")
    gild(name)


def gild(name: str) -> None:
    """Write a history's golden file anew. A released history folds to what it always did: its golden file stays."""
    golden = msgspec.json.format(msgspec.json.encode(amount(fold(read(name)))))
    golden_file(name).write_bytes(golden + b"\n")


def golden_file(name: str) -> Path:
    """Return where a history's golden file stands."""
    return FOLDER / f"{name}.golden.json"


def fold(rows: list[Row]) -> State:
    """Check the chain of a history and fold it."""
    codec.verify(rows, Position())
    state = State()
    for record in codec.records(rows):
        evolve(state, record)
    return state


class Amount(Struct):
    """What a state amounts to: the digest decides, the words tell where it went another way."""

    digest: str
    index: int
    cluster: str
    coordinator: str
    epoch: int
    nodes: dict[str, str]
    jobs: dict[str, str]
    allocations: dict[str, int]
    deployments: dict[str, int]
    sizes: dict[str, int]
    parts: dict[str, str]


def amount(state: State) -> Amount:
    """Say what a state amounts to."""
    nothing = State()
    names = [field.name for field in dataclasses.fields(state)]
    parts = {name: _digest(part) for name in names if (part := getattr(state, name)) != getattr(nothing, name)}
    return Amount(
        digest=hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest(),
        index=state.index,
        cluster=state.cluster,
        coordinator=state.coordinator,
        epoch=state.epoch,
        nodes={node.name: node.status for node in _by_index(state.nodes)},
        jobs={f"{job.namespace}/{job.name}": _job(state, job) for job in _by_index(state.jobs)},
        allocations=dict(sorted(Counter(alloc.status for alloc in state.allocs.values()).items())),
        deployments=dict(sorted(Counter(each.status for each in state.deployments.values()).items())),
        sizes={name: len(part) for name in names if isinstance(part := getattr(state, name), dict) and part},
        parts=parts,
    )


def _job(state: State, job: Any) -> str:  # noqa: ANN401 - a job of the state
    running = sum(alloc.status == "running" for alloc in state.allocs_of(job.uid))
    return f"{'deleted' if job.deleted else job_status(state, job)}, version {job.current.version}, {running} running"


def _by_index(records: dict[Any, Any]) -> list[Any]:
    return sorted(records.values(), key=lambda record: record.create_index)


def _digest(part: object) -> str:
    # The order within a job's or a node's allocations means something (oldest first), that of the whole map does not.
    plain = sorted(_plain(part), key=msgspec.json.encode) if isinstance(part, dict) else _plain(part)
    return hashlib.blake2b(msgspec.json.encode(plain), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any part of a state
    """Give a value without its defaults, so that a field added later, by default as before, changes no digest."""
    if isinstance(value, Struct):
        fields = msgspec.structs.fields(value)
        return {
            field.name: _plain(given) for field in fields if (given := getattr(value, field.name)) != _default(field)
        }
    if isinstance(value, dict):
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if field.default_factory is not NODEFAULT else field.default


if __name__ == "__main__":
    for each in sys.argv[1:]:
        gild(each)
