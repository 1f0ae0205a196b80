"""Batches on a real Postgres: what one culprit does to the others, and what is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
import pytest
from msgspec.structs import replace

from eventstore.appender import Answer
from eventstore.arrays import Bigints, Blobs, Integers
from eventstore.codec import Sealed, seal
from eventstore.database import Database
from eventstore.log import Append, Appended, KeyReused, LogUnavailable, Position, Rejected
from eventstore.postgres import PostgresLog, _Line, _parameters, open_log
from heroctl.domain.events import JobStopped
from tests.eventstore.conftest import opened
from tests.eventstore.proxy import Proxy
from tests.eventstore.samples import intent, key, numbers, unchanged, verified
from tests.waiting import eventually

_AGAIN = "SELECT r_firsts, r_expects, r_lasts FROM heroctl.append(" + ", ".join(["%s"] * 20) + ")"


async def test_one_poisoned_append_fails_alone(dsn: str, admin: psycopg.Connection) -> None:
    """One of 64 that the database cannot take, all at once: 63 are in, and it is told whose fault it was."""
    admin.execute("""
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF convert_from(new.data, 'UTF8') LIKE '%job-30"%' THEN RAISE EXCEPTION 'poison'; END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER poison BEFORE INSERT ON heroctl.events_1 FOR EACH ROW EXECUTE FUNCTION poison()""")
    async with opened(dsn) as log:
        callers = (log.append(intent(number)) for number in range(64))
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Rejected if n == 30 else Appended for n in range(64)]
        assert sorted(await numbers(log)) == [n for n in range(64) if n != 30]
        await verified(log)


@pytest.mark.parametrize(
    "wrong",
    [{30: "nu\0l"}, {30: "forbidden"}, {7: "nu\0l", 63: "forbidden"}],
    ids=["a NUL", "a constraint", "one of each"],
)
async def test_what_the_database_refuses_fails_alone(
    dsn: str, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, wrong: dict[int, str]
) -> None:
    """A batch of 64 goes whole, then one at a time; the others are in, once, with their keys, and prove it."""
    monkeypatch.setattr("eventstore.codec._check_text", lambda *_: None)  # a writer's bug that nothing caught
    sent: list[int] = []
    send = _Line.send

    async def counted(line: _Line, batch: UUID, appends: Sequence[Sealed]) -> list[Answer]:
        sent.append(len(appends))
        return await send(line, batch, appends)

    monkeypatch.setattr(_Line, "send", counted)
    admin.execute("ALTER TABLE heroctl.streams ADD CHECK (name <> 'forbidden')")
    async with opened(dsn) as log:
        appends = [intent(n, stream=wrong.get(n, f"a:{n}"), seen=0, under=key(str(n))) for n in range(64)]
        answers = await asyncio.gather(*map(log.append, appends), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Rejected if n in wrong else Appended for n in range(64)]
        assert sent == [64] + [1] * 64
        assert await numbers(log) == [n for n in range(64) if n not in wrong]
        again = await asyncio.gather(*(log.recall(key(str(n))) for n in range(64)))
        assert [place and place.last for place in again] == [
            answer.last if isinstance(answer, Appended) else None for answer in answers
        ]
        await verified(log)


async def test_same_batch_again_is_answered_the_same(dsn: str) -> None:
    """Conflicts and fences, too, and without a second trace; but a deposed coordinator is told that it is."""
    appends = [
        seal(append)
        for append in (
            intent(1, stream="a:1", seen=0),
            Append((JobStopped(2, "default", "x"),), epoch=0),
            Append((JobStopped(3, "default", "x"),), epoch=1),
        )
    ]
    async with opened(dsn) as log:
        await log.append(intent(0, stream="a:2"))
        appends.append(seal(intent(4, stream="a:2", seen=1)))
        batch = uuid4()
        appends.append(seal(intent(5, under=key("k"))))
        appends.append(seal(unchanged(key("l"))))
        first = await _send(log, batch, appends)
        again = await _send(log, batch, appends)
        assert first == again == [[3, 4, 0, 0, 5, 6], [0, 0, 0, 2, 0, 0], [3, 4, 0, 2, 5, 5]]
        await log.database.fetch("UPDATE heroctl.head SET epoch = 1")
        assert (await _send(log, batch, appends))[0] == [3, 0, 0, 0, 5, 6]
        assert (await log.head()).index == 5


async def test_batch_that_stored_nothing_but_keys_is_answered_the_same(dsn: str) -> None:
    async with opened(dsn) as log:
        batch, appends = uuid4(), [seal(unchanged(key("k"))), seal(unchanged(key("l")))]
        assert await _send(log, batch, appends) == await _send(log, batch, appends) == [[2, 2], [0, 0], [1, 1]]
        assert await _send(log, uuid4(), appends) == [[2, 2], [-1, -1], [1, 1]], "another batch finds the keys"


async def _send(log: PostgresLog, batch: UUID, appends: list[Sealed]) -> list[list[int]]:
    return [list(column) for column in (await log.database.fetch(_AGAIN, _parameters(batch, appends)))[0]]


async def test_append_sent_again_by_its_client_after_a_lost_answer(dsn: str) -> None:
    """Nobody could say whether it happened; with its key, another process knows."""
    async with Proxy(dsn).serve() as proxy, Database(proxy.dsn) as lossy, opened(dsn) as log:
        async with open_log(lossy, patience=0.5) as cut_off:
            await cut_off.append(intent(1))
            proxy.lose_replies = proxy.refuse = True
            with pytest.raises(LogUnavailable) as away:
                await cut_off.append(intent(2, under=key("k")))
            assert away.value.unknown
            again = await log.append(intent(2, under=key("k")))
            assert (again.first, again.last, again.replayed) == (3, 3, True)
            with pytest.raises(KeyReused):
                await log.append(intent(2, under=key("k", "other")))
            proxy.lose_replies = proxy.refuse = False
        assert await numbers(log) == [1, 2]


# Of the parameters:
_EPOCHS, _COUNTS, _DIGESTS, _EVENTS_OF, _EXPECTS_OF, _SEEN, _KEYS_OF, _VIEW_OF, _VIEWS = 1, 2, 4, 5, 11, 13, 14, 17, 18


@pytest.mark.parametrize(
    ("place", "values"),
    [
        pytest.param(_COUNTS, Integers([2, 3]), id="a gap"),
        pytest.param(_COUNTS, Integers([2, 1]), id="an event too many"),
        pytest.param(_COUNTS, Integers([3, 1]), id="ends elsewhere"),
        pytest.param(_COUNTS, Integers([5, -1]), id="back and forth"),
        pytest.param(_COUNTS, Integers([2, -2]), id="a step back"),
        pytest.param(_COUNTS, [2, None], id="an unknown count"),
        pytest.param(_DIGESTS, Blobs([bytes(32), bytes(31)]), id="a short digest"),
        pytest.param(_DIGESTS, Blobs([bytes(32)]), id="a missing digest"),
        pytest.param(_EVENTS_OF, Integers([1, 1, 2, 3]), id="an event of nobody"),
        pytest.param(_EVENTS_OF, Integers([1, 2, 1, 2]), id="events mixed up"),
        pytest.param(_EPOCHS, Bigints([-1]), id="a missing epoch"),
        pytest.param(_EPOCHS, [-1, None], id="an unknown epoch"),
        pytest.param(_EXPECTS_OF, Integers([2, 1]), id="expectations mixed up"),
        pytest.param(_SEEN, Bigints([0]), id="a missing expectation"),
        pytest.param(_SEEN, [0, None], id="an unknown expectation"),
        pytest.param(_KEYS_OF, Integers([2, 1]), id="keys mixed up"),
        pytest.param(_VIEW_OF, Integers([1]), id="a missing place"),
        pytest.param(_VIEW_OF, Integers([1, 2]), id="an unknown place"),
        pytest.param(_VIEW_OF, [1, None], id="no place or none"),
        pytest.param(_VIEWS, Bigints([1, 1]), id="a place without a chain"),
        pytest.param(_VIEWS, [None], id="a place nowhere"),
    ],
)
async def test_what_does_not_add_up_is_refused(dsn: str, place: int, values: object) -> None:
    """Whatever a writer says: no gap, no step back, no append without its end, no fence or expectation passed over."""
    async with opened(dsn) as log:
        before = await log.append(intent(0))
        appends = [
            seal(replace(intent(n, n + 1, stream=f"a:{n}", seen=0, under=key(str(n))), view=Position())) for n in (1, 3)
        ]
        parameters = _parameters(uuid4(), appends)
        parameters[place] = values
        with pytest.raises((psycopg.DataError, psycopg.IntegrityError)):
            await log.database.fetch(_AGAIN, parameters)
        assert (await log.append(intent(5))).first == before.last + 1
        await verified(log)


async def test_without_a_partition_nobody_is_to_blame(dsn: str, admin: psycopg.Connection) -> None:
    """Whoever makes them may be held up for a while: the append is good, and enters the log when there is one."""
    async with opened(dsn, patience=1.0) as log:  # longer than any pause between two attempts
        await eventually(lambda: log._due)
        admin.execute("UPDATE heroctl.head SET index = (SELECT max(stop) - 1 FROM heroctl.partitions)")
        with pytest.raises(LogUnavailable):
            await log.append(intent(1))
        admin.execute("SELECT heroctl.make_partitions(1000000)")
        assert (await log.append(intent(1))).first == 3_000_001
