"""What is told of use, in requests that are not too large: what was measured first, applications' own words after it.

So an application that says much drowns nothing but itself, and what is refused takes nothing else with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from heroctl.domain.sampling import Measured, SamplesRequest, Scraped, Taken

T = TypeVar("T", Taken, Measured, Scraped)

LARGEST: Final = 256 << 10  # bytes of a request's parts: a quarter of what an api takes


def parcels(session: int, taken: Iterable[Taken], scraped: Iterable[Scraped]) -> list[SamplesRequest]:
    """Put samples, and then what applications said, into requests of at most `LARGEST`; more, where one thing has it.

    Samples that were taken together may come apart, in order: the node's own, which stand first, are sent first.
    """
    parts = [piece for one in taken for piece in _pieces(one)]
    made = [SamplesRequest(session, taken=batch) for batch in _batches(parts)]
    return made + [SamplesRequest(session, scraped=batch) for batch in _batches(scraped)]


def _pieces(taken: Taken) -> Iterator[Taken]:
    for samples in _batches(taken.samples):
        yield Taken(taken.age, samples)


def _batches(things: Iterable[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    room = LARGEST
    for thing in things:
        size = len(msgspec.json.encode(thing))
        if batch and size > room:
            yield batch
            batch, room = [], LARGEST
        batch.append(thing)
        room -= size
    if batch:
        yield batch
