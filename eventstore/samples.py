"""Samples: what nodes and allocations use, as it came, and in blocks of ever coarser resolution.

Whoever takes samples in writes them by the thousand; the coordinator rolls them up and lets the old ones go. None of it
is in the log. Every call raises LogUnavailable when the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, Protocol, get_args

from msgspec import Struct

from eventstore.arrays import Bigints, Blobs, Integers, Reals, Texts, reals
from eventstore.database import Database
from eventstore.series import KEPT, TIERS, Aggregation, Run, Tier, runs_of
from heroctl.domain.metrics import METRICS, PLACES, STEP, Kind

CHUNK: Final = 250  # subjects that are rolled in one statement, which takes a tenth of a second
MOST_EXPOSED: Final = 64 << 20  # bytes of what is said that are shown in one go
LATE: Final = 120  # seconds for which samples of a block may still come after its end
_WIDTH: Final = len(METRICS)

_SEEN: Final = """
    UPDATE heroctl.sampled s SET seen = n.seen FROM unnest(%b, %b, %b) AS n(kind, name, seen)
    WHERE s.kind = n.kind AND s.name = n.name RETURNING s.kind, s.name, s.id"""
_REGISTER: Final = """
    INSERT INTO heroctl.sampled (kind, name, node, namespace, job, task, seen)
    SELECT * FROM unnest(%b, %b, %b, %b, %b, %b, %b) ON CONFLICT (kind, name) DO UPDATE SET seen = EXCLUDED.seen
    RETURNING kind, name, id"""
_WRITE: Final = f"""
    INSERT INTO heroctl.samples (subject, at, v)
    SELECT n.subject, n.at, (p.v)[(n.o - 1) * {_WIDTH} + 1 : n.o * {_WIDTH}]
    FROM (SELECT %b::real[] AS v) AS p, unnest(%b, %b) WITH ORDINALITY AS n(subject, at, o)
    WHERE n.at >= (SELECT until FROM heroctl.samples_rolled WHERE resolution = {STEP})
    ON CONFLICT (subject, at) DO UPDATE SET v = EXCLUDED.v"""  # noqa: S608 - a constant
_LATEST: Final = """
    SELECT DISTINCT ON (r.subject) s.kind, s.name, r.at, r.v FROM heroctl.samples r
    JOIN heroctl.sampled s ON s.id = r.subject WHERE r.at >= %b ORDER BY r.subject, r.at DESC"""
_FIND: Final = """
    SELECT kind, name, node, namespace, job, task, id FROM heroctl.sampled
    WHERE kind = %b AND (%b = '' OR name = %b) AND (%b = '' OR node = %b) AND (%b = '' OR namespace = %b)
        AND (%b = '' OR job = %b) AND (%b = '' OR task = %b) AND seen >= %b ORDER BY namespace, job, task, node, name"""
_ROLLED: Final = "SELECT resolution, until FROM heroctl.samples_rolled"
_BEGUN: Final = "SELECT subject FROM heroctl.samples_rolled WHERE resolution = %b AND block = %b"
_RAW: Final = """
    SELECT subject, array_agg(at ORDER BY at), array_agg(coalesce(v[%b], 'NaN') ORDER BY at)
    FROM heroctl.samples WHERE subject = ANY(%b) AND at >= %b AND at < %b GROUP BY subject"""
_BLOCKS: Final = {
    (tier.resolution, how): f"""
    SELECT subject, start, array_send({"peak" if how == "max" and tier.resolution > STEP else "mean"})
    FROM heroctl.{tier.table} WHERE subject = ANY(%b) AND metric = %b AND start > %b AND start < %b
    ORDER BY subject, start"""  # noqa: S608 - constants
    for tier in TIERS
    for how in get_args(Aggregation)
}
_OLDEST: Final = {  # of the next block, as nearly always; else of any
    tier.resolution: f"""
    SELECT coalesce((SELECT {time} FROM heroctl.{table} WHERE {time} >= %b::bigint AND {time} < %b::bigint LIMIT 1),
        (SELECT min({time}) FROM heroctl.{table} WHERE {time} >= %b::bigint))"""  # noqa: S608 - constants
    for tier, table, time in zip(
        TIERS, ("samples", TIERS[0].table, TIERS[1].table), ("at", "start", "start"), strict=True
    )
}
_PARTITION: Final = "SELECT heroctl.sample_partition(%b, %b::bigint, %b::bigint)"
_DROP: Final = "SELECT heroctl.drop_samples(%b, %b::bigint, %b::bigint)"
_ROLL: Final = "SELECT heroctl.roll_samples(%b::bigint, %b::integer, %b::integer, %b::integer)"
_ROLL_BLOCKS: Final = """
    SELECT heroctl.roll_blocks(%b, %b, %b::bigint, %b::integer, %b::integer, %b::bigint, %b::integer, %b::integer)"""
_ADVANCE: Final = "UPDATE heroctl.samples_rolled SET until = %b WHERE resolution = %b AND until = %b RETURNING until"
_CLEAR: Final = "DELETE FROM heroctl.samples WHERE at < %b"
_FORGET: Final = "DELETE FROM heroctl.sampled WHERE seen < %b"
_EXPOSE: Final = """
    INSERT INTO heroctl.expositions (kind, name, at, families, series)
    SELECT * FROM unnest(%b, %b, %b, %b, %b) AS n(kind, name, at, families, series) ORDER BY kind, name
    ON CONFLICT (kind, name) DO UPDATE SET at = EXCLUDED.at, families = EXCLUDED.families, series = EXCLUDED.series"""
_EXPOSED: Final = """
    SELECT kind, name, at, CASE WHEN in_all <= %b::bigint THEN families ELSE '' END, series
    FROM (
        SELECT kind, name, at, families, series, sum(octet_length(families)) OVER (
            ORDER BY kind = 'alloc', octet_length(families), name
        ) AS in_all FROM heroctl.expositions WHERE at >= %b
    ) AS said ORDER BY kind, name"""
_UNEXPOSE: Final = "DELETE FROM heroctl.expositions WHERE at < %b"


class Subject(Struct, frozen=True):
    """Who is sampled: a node by its name, or an allocation by its id."""

    kind: Kind
    name: str
    node: str
    namespace: str = ""
    job: str = ""
    task: str = ""
    id: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other one."""
        return self.kind, self.name


class Wanted(Struct, frozen=True):
    """Which subjects; an empty word asks for nothing."""

    kind: Kind
    name: str = ""
    node: str = ""
    namespace: str = ""
    job: str = ""
    task: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """What is asked for, besides the kind."""
        return self.name, self.node, self.namespace, self.job, self.task

    def passes(self, subject: Subject) -> bool:
        """Tell whether a subject is one of these."""
        said = (subject.name, subject.node, subject.namespace, subject.job, subject.task)
        return subject.kind == self.kind and all(
            word in ("", theirs) for word, theirs in zip(self.words, said, strict=True)
        )


class Sampled(Struct, frozen=True):
    """One sample: whose, when (s, a multiple of ten), and its values in their places."""

    subject: int
    at: int
    values: Sequence[float]


class Latest(Struct, frozen=True):
    """The newest sample of a subject."""

    kind: str
    name: str
    at: int
    values: Sequence[float]


class Exposed(Struct, frozen=True):
    """What an allocation or a process says of itself: encoded families, as of a time (s), and how many series.

    Where there was no room for them, `families` is empty.
    """

    kind: str
    name: str
    at: int
    families: bytes
    series: int = 0


class Samples(Protocol):
    """The samples. Times are in seconds since the epoch, by the database's clock."""

    async def register(self, subjects: Sequence[Subject], now: int) -> dict[tuple[str, str], int]:
        """Give subjects their numbers, by kind and name; it is remembered that they were seen now."""
        ...

    async def write(self, rows: Sequence[Sampled]) -> None:
        """Keep samples; of two for the same time the later one. What comes after its block was rolled is dropped."""
        ...

    async def latest(self, since: int) -> list[Latest]:
        """Give the newest sample of everything that has one since then."""
        ...

    async def find(self, wanted: Wanted, since: int) -> list[Subject]:
        """Find subjects that were seen since then, by namespace, job, task, node and name."""
        ...

    async def read(
        self, subjects: Sequence[int], metric: str, parts: Iterable[Part], how: Aggregation = "avg"
    ) -> list[Run]:
        """Give what is kept of one metric, as cut by `series.parts_of`, in no order."""
        ...

    async def rolled(self) -> dict[int, int]:
        """Tell how far each resolution is complete."""
        ...

    async def roll(self, now: int) -> int:
        """Roll up all that is due, and let go what is old; return how many blocks of time were rolled."""
        ...

    async def expose(self, rows: Sequence[Exposed]) -> None:
        """Keep the newest of what allocations and processes say of themselves."""
        ...

    async def exposed(self, since: int, most: int = MOST_EXPOSED) -> list[Exposed]:
        """Give what was said since then, by kind and name: so many bytes of it, processes and the shortest first."""
        ...


Part = tuple[Tier | None, int, int]


class PostgresSamples:
    """Samples in the log's database; see Samples."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, subjects: Sequence[Subject], now: int) -> dict[tuple[str, str], int]:
        """See Samples.register."""
        wanted = sorted(subjects, key=lambda each: each.key)
        keys = [Texts([each.kind for each in wanted]), Texts([each.name for each in wanted])]
        seen = await self._database.fetch(_SEEN, [*keys, Bigints([now] * len(wanted))])
        known = {(kind, name): number for kind, name, number in seen}
        new = [each for each in wanted if each.key not in known]
        if new:
            columns = [
                Texts([each.kind for each in new]),
                Texts([each.name for each in new]),
                Texts([each.node for each in new]),
                Texts([each.namespace for each in new]),
                Texts([each.job for each in new]),
                Texts([each.task for each in new]),
                Bigints([now] * len(new)),
            ]
            known |= {(kind, name): number for kind, name, number in await self._database.fetch(_REGISTER, columns)}
        return known

    async def write(self, rows: Sequence[Sampled]) -> None:
        """See Samples.write."""
        rows = sorted({(row.subject, row.at): row for row in rows}.values(), key=lambda row: (row.subject, row.at))
        if rows:
            flat = Reals([value for row in rows for value in row.values])
            columns = [Integers([row.subject for row in rows]), Bigints([row.at for row in rows])]
            await self._database.fetch(_WRITE, [flat, *columns])

    async def latest(self, since: int) -> list[Latest]:
        """See Samples.latest."""
        return [Latest(*row) for row in await self._database.fetch(_LATEST, [since])]

    async def find(self, wanted: Wanted, since: int) -> list[Subject]:
        """See Samples.find."""
        words = [twice for word in wanted.words for twice in (word, word)]
        return [Subject(*row) for row in await self._database.fetch(_FIND, [wanted.kind, *words, since])]

    async def read(
        self, subjects: Sequence[int], metric: str, parts: Iterable[Part], how: Aggregation = "avg"
    ) -> list[Run]:
        """See Samples.read."""
        runs: list[Run] = []
        ids, place = Integers(list(subjects)), PLACES[metric] + 1
        for tier, begin, end in parts:
            if tier is None:
                rows = await self._database.fetch(_RAW, [place, ids, begin, end])
                runs += [run for subject, times, values in rows for run in runs_of(subject, times, values)]
                continue
            rows = await self._database.fetch(_BLOCKS[tier.resolution, how], [ids, place, begin - tier.block, end])
            runs += _joined(tier, rows)
        return runs

    async def rolled(self) -> dict[int, int]:
        """See Samples.rolled."""
        return dict(await self._database.fetch(_ROLLED))

    async def roll(self, now: int) -> int:
        """See Samples.roll."""
        until = await self.rolled()
        done, ready = 0, now - LATE
        for number, tier in enumerate(TIERS):
            last = ready // tier.block * tier.block
            while until[tier.resolution] < last:
                seen, made = until[tier.resolution], await self._next(number, until[tier.resolution], last)
                until[tier.resolution] = last if made is None else made + tier.block
                await self._database.fetch(_ADVANCE, [until[tier.resolution], tier.resolution, seen])
                done += made is not None
            ready = until[tier.resolution]
            await self._database.fetch(_DROP, [tier.table, tier.span, now - tier.kept - tier.block])
        await self._database.fetch(_CLEAR, [until[STEP] - TIERS[0].block])  # who reads may have looked before
        await self._database.fetch(_FORGET, [now - KEPT])
        await self._database.fetch(_UNEXPOSE, [now - 3_600])
        return done

    async def _next(self, number: int, until: int, last: int) -> int | None:
        """Make the next block of which there is anything, return where it begins; None: nothing is before `last`."""
        tier = TIERS[number]
        [(oldest,)] = await self._database.fetch(_OLDEST[tier.resolution], [until, until + tier.block, until])
        if oldest is None or oldest >= last:
            return None
        start: int = oldest // tier.block * tier.block
        await self._roll(number, start)
        return start

    async def _roll(self, number: int, start: int) -> None:
        """Make a block of all who have samples of its time, some at a time; what was begun is gone on with."""
        tier = TIERS[number]
        await self._database.fetch(_PARTITION, [tier.table, start, tier.span])
        begun = await self._database.fetch(_BEGUN, [tier.resolution, start])
        last: int | None = begun[0][0] if begun else 0
        while last is not None:
            [(last,)] = await self._database.fetch(*_chunk(number, start, last))

    async def expose(self, rows: Sequence[Exposed]) -> None:
        """See Samples.expose."""
        rows = list({(row.kind, row.name): row for row in rows}.values())
        columns = [
            Texts([row.kind for row in rows]),
            Texts([row.name for row in rows]),
            Bigints([row.at for row in rows]),
            Blobs([row.families for row in rows]),
            Integers([row.series for row in rows]),
        ]
        await self._database.fetch(_EXPOSE, columns)

    async def exposed(self, since: int, most: int = MOST_EXPOSED) -> list[Exposed]:
        """See Samples.exposed."""
        return [Exposed(*row) for row in await self._database.fetch(_EXPOSED, [most, since])]


def _chunk(number: int, start: int, after: int) -> tuple[str, list[object]]:
    """Give the statement that makes a block of the next subjects after one, and returns the last of them, if any."""
    if not number:
        return _ROLL, [start, after, CHUNK, _WIDTH]
    tier, finer = TIERS[number], TIERS[number - 1]
    sizes = [finer.resolution, tier.resolution // finer.resolution, tier.block // tier.resolution, start]
    return _ROLL_BLOCKS, [tier.table, finer.table, *sizes, after, CHUNK]


def _joined(tier: Tier, rows: Sequence[tuple[int, int, bytes]]) -> list[Run]:
    """Make runs of blocks, in order: one for each stretch without a hole, whose values are read in one go."""

    def stretch(each: tuple[int, tuple[int, int, bytes]]) -> tuple[int, int]:
        place, (subject, start, _) = each
        return subject, start - place * tier.block

    found = []
    for _, of_it in groupby(enumerate(rows), key=stretch):
        blocks = [row for _, row in of_it]
        subject, start, _ = blocks[0]
        found.append(Run(subject, start, tier.resolution, reals([sent for _, _, sent in blocks])))
    return found
