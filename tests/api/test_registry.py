"""What a registry is asked, and what becomes of a submit by what it says: a digest, a doubt, and never a delay."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from api.images import SPARED, Images
from api.registry import Listed, digest, find
from heroctl import outside
from heroctl.domain import spec as specs
from heroctl.domain import validate
from heroctl.domain.addresses import networks
from heroctl.domain.image import Reference, parse
from heroctl.outside import Outside, Unanswered
from tests.api import registries
from tests.api.registries import Asked, Fake, Registry, Told
from tests.cli import certificate
from tests.needs import needs
from tests.waiting import eventually

LOOPBACK = networks(["127.0.0.0/8", "::1"])
PUBLIC = "1.1.1.1"


@pytest.fixture
async def there() -> AsyncIterator[Fake]:
    async with registries.fake() as made:
        yield made


@pytest.fixture
async def way() -> AsyncIterator[Outside]:
    made = Outside(LOOPBACK)
    yield made
    await made.close()


def image(there: Fake, name: str = "shop:1") -> Reference:
    return parse(f"{there.host}/{name}")


async def resolved(way: Outside, there: Fake, name: str = "shop:1", listed: str = "localhost:*") -> str:
    return await digest(way, Listed.parse(listed), image(there, name))


# ── the protocol ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tag_is_asked_for_by_head_and_indexes_come_first(way: Outside, there: Fake) -> None:
    said = there.has("team/shop", "1.5", "{}")
    assert await resolved(way, there, "team/shop:1.5") == said
    [asked] = there.asked
    assert (asked.method, asked.path) == ("HEAD", "/v2/team/shop/manifests/1.5")
    kinds = asked.headers["accept"].split(", ")
    assert kinds[0] == "application/vnd.oci.image.index.v1+json"
    assert "application/vnd.docker.distribution.manifest.v2+json" in kinds
    assert asked.headers["host"] == there.host
    assert "authorization" not in asked.headers


async def test_a_registry_that_does_not_name_the_digest_is_asked_for_the_manifest(way: Outside, there: Fake) -> None:
    said = there.has("shop", "1", '{"a": 1}', named=False)
    assert await resolved(way, there) == said
    assert [asked.method for asked in there.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("given", ["sha256:12", "md5:" + "0" * 32, "SHA256:" + "A" * 64])
async def test_a_digest_that_is_none_is_not_believed(way: Outside, there: Fake, given: str) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda _: Told(200, {"Docker-Content-Digest": given}, b"{}")
    assert await resolved(way, there) == registries.digest("{}")


@pytest.mark.parametrize("field", ["token", "access_token"])
async def test_a_token_is_fetched_where_one_is_demanded(way: Outside, there: Fake, field: str) -> None:
    said = there.wants_token("shop", "1", "{}", {field: "let-me-in"})
    assert await resolved(way, there) == said
    token = httpx2.URL(there.asked[1].path)
    assert (token.path, dict(token.params)) == ("/token", {"service": "reg,istry", "scope": "repository:shop:pull"})
    assert [asked.method for asked in there.asked] == ["HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(
    "token", [{}, [], "let-me-in", {"token": ""}, {"token": "a\r\nX-Evil: 1"}, {"token": 7}, {"token": "bad one"}]
)
async def test_a_token_that_is_none_opens_nothing(way: Outside, there: Fake, token: object) -> None:
    there.wants_token("shop", "1", "{}", token)
    with pytest.raises(Unanswered):
        await resolved(way, there)


@pytest.mark.parametrize(
    "challenge", ["", 'Basic realm="x"', "Bearer", "Bearer realm=", 'Bearer service="x"', 'Bearer realm="http://[::"']
)
async def test_who_has_an_account_only_is_told_so(way: Outside, there: Fake, challenge: str) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda _: Told(401, {"WWW-Authenticate": challenge})
    with pytest.raises(Unanswered, match=r"account|cannot be read"):
        await resolved(way, there)


async def test_of_several_ways_in_the_open_one_is_taken(way: Outside, there: Fake) -> None:
    said = there.wants_token("shop", "1", "{}", {"token": "let-me-in"})
    answer = there.answers["/v2/shop/manifests/1"]

    def both(asked: Asked) -> Told:
        told = answer(asked)
        assert told is not None
        challenge = told.headers.get("WWW-Authenticate")
        return told._replace(headers={"WWW-Authenticate": f'Basic realm="x", {challenge}'}) if challenge else told

    there.answers["/v2/shop/manifests/1"] = both
    assert await resolved(way, there) == said


@pytest.mark.parametrize(("status", "words"), [(404, "no such image"), (429, "too often"), (500, "500"), (403, "acc")])
async def test_what_a_registry_refuses_is_told_in_words(way: Outside, there: Fake, status: int, words: str) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda _: Told(status)
    with pytest.raises(Unanswered, match=words):
        await resolved(way, there)


async def test_a_manifest_without_an_end_is_not_read_to_it(way: Outside, there: Fake) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda asked: Told(200, {}, b"x" * (6 << 20))
    with pytest.raises(Unanswered, match="4 MiB"):
        await resolved(way, there)


async def test_a_redirect_is_followed_and_one_in_a_circle_is_not(way: Outside, there: Fake) -> None:
    said = there.has("shop", "elsewhere", "{}")
    moved = {"Location": f"http://127.0.0.1:{there.port}/v2/shop/manifests/elsewhere"}
    there.answers["/v2/shop/manifests/1"] = lambda _: Told(307, moved)
    assert await resolved(way, there) == said
    there.answers["/v2/shop/manifests/2"] = lambda _: Told(302, {"Location": "/v2/shop/manifests/2"})
    with pytest.raises(Unanswered, match="place to place"):
        await resolved(way, there, "shop:2")


async def test_another_host_gets_no_token(way: Outside, there: Fake) -> None:
    there.wants_token("shop", "1", "{}", {"token": "let-me-in"})
    answer = there.answers["/v2/shop/manifests/1"]
    moved = Told(307, {"Location": f"http://127.0.0.1:{there.port}/other"})

    def leads_away(asked: Asked) -> Told | None:
        return moved if "authorization" in asked.headers else answer(asked)

    there.answers["/v2/shop/manifests/1"] = leads_away
    with pytest.raises(Unanswered, match="no such image"):
        await resolved(way, there)
    assert there.asked[-1].path == "/other"
    assert "authorization" not in there.asked[-1].headers


# ── which addresses ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_address_that_is_not_listed_is_not_spoken_to(there: Fake) -> None:
    there.has("shop", "1", "{}")
    with pytest.raises(Unanswered, match="neither public nor"):
        await digest(Outside(), Listed.parse("*"), image(there))
    with pytest.raises(Unanswered, match="neither public nor"):
        await digest(Outside(), Listed.parse("*"), parse(f"127.0.0.1:{there.port}/shop:1"))
    assert there.asked == []


async def test_one_address_that_may_not_be_spoken_to_spoils_the_name(there: Fake) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.1"]

    there.has("shop", "1", "{}")
    with pytest.raises(Unanswered, match="neither public nor"):
        await digest(Outside(LOOPBACK, lookup), Listed.parse("*"), image(there))
    assert there.asked == []


async def test_a_name_is_looked_up_once_and_the_connection_goes_where_it_was_checked(there: Fake) -> None:
    looked = []

    async def lookup(host: str, port: int) -> list[str]:
        looked.append((host, port))
        return ["127.0.0.1"]  # a second look would find another one

    said = there.has("shop", "1", "{}")
    way = Outside(LOOPBACK, lookup)
    name = f"registry.example.com:{there.port}"
    assert await digest(way, Listed.parse(f"http://{name}"), parse(f"{name}/shop:1")) == said
    assert looked == [("registry.example.com", there.port)]
    assert there.asked[0].headers["host"] == name
    await way.close()


@pytest.mark.parametrize("place", ["redirect", "realm"])
async def test_where_a_registry_leads_is_looked_at_like_the_registry(there: Fake, place: str) -> None:
    inner = "http://10.9.9.9/secret"
    there.wants_token("shop", "1", "{}", {"token": "let-me-in"}, realm=inner)
    if place == "redirect":
        there.answers["/v2/shop/manifests/1"] = lambda _: Told(307, {"Location": inner})
    with pytest.raises(Unanswered, match="neither public nor"):
        await digest(Outside(LOOPBACK), Listed.parse("localhost:*"), image(there))


@pytest.mark.parametrize("place", ["image", "redirect", "realm"])
async def test_a_port_that_is_none_is_no_answer(way: Outside, there: Fake, place: str) -> None:
    nowhere = "http://localhost:65536/secret"
    there.wants_token("shop", "1", "{}", {"token": "let-me-in"}, realm=nowhere)
    if place == "redirect":
        there.answers["/v2/shop/manifests/1"] = lambda _: Told(307, {"Location": nowhere})
    asked = parse("localhost:65536/shop:1") if place == "image" else image(there)
    with pytest.raises(Unanswered, match="cannot be asked"):
        await digest(way, Listed.parse("localhost:*"), asked)


async def test_the_next_address_is_tried_where_nobody_listens_at_one(there: Fake) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    said = there.has("shop", "1", "{}")
    way = Outside(LOOPBACK, lookup)
    assert await digest(way, Listed.parse("*"), image(there)) == said
    await way.close()


async def test_a_certificate_is_that_of_the_name_and_not_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificate.make(tmp_path, "registry.example.com")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made, tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(made))

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with registries.fake(tls) as there:
        said = there.has("shop", "1", "{}")
        way = Outside(LOOPBACK, lookup)
        right, wrong = (parse(f"{name}.example.com:{there.port}/shop:1") for name in ("registry", "other"))
        assert await digest(way, Listed.parse("*"), right) == said
        with pytest.raises(Unanswered, match="certificate"):
            await digest(way, Listed.parse("*"), wrong)
        there.answers["/v2/shop/manifests/1"] = lambda _: Told(307, {"Location": f"http://{right.host}/"})
        with pytest.raises(Unanswered, match="everybody could listen"):
            await digest(way, Listed.parse("*"), right)
        await way.close()


async def test_names_that_take_too_long_hold_up_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs is asked for few names at a time, each once, and one that was asked for is had by all."""
    started: list[str] = []
    futures: dict[str, asyncio.Future[list[str]]] = {}

    def hangs(host: str, port: int, found: asyncio.Future[list[str]]) -> None:
        started.append(host)
        futures[host] = found

    monkeypatch.setattr(outside, "_look_up", hangs)
    names = outside.Names()
    waiting = [asyncio.create_task(names.find(f"{number % 8}.example.com", 443)) for number in range(16)]
    await eventually(lambda: len(started) == 8, what="the first names")
    with pytest.raises(Unanswered, match="other names"):
        await names.find("one.more.example.com", 443)
    waiting[0].cancel()
    for host, found in futures.items():
        found.set_result([] if host.startswith("1.") else [PUBLIC])
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(started) == 8
    assert [str(outcome) for outcome in outcomes[1:3]] == ["has no address", f"['{PUBLIC}']"]
    assert outcomes[8] == [PUBLIC], "another's going away takes nothing from those who wait"


async def test_a_name_that_nobody_has_is_told_of() -> None:
    with pytest.raises(Unanswered, match="no address"):
        await outside.Names().find("nowhere.invalid", 443)
    with pytest.raises(Unanswered, match="no address"):
        await outside.Names().find("a" * 70 + ".invalid", 443)


# ── which registries ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_registries_are_listed_by_name_and_stars() -> None:
    listed = tuple(map(Listed.parse, ("docker.io", "*.internal:5000", "http://plain.example.com")))
    assert find(listed, "docker.io") == Listed("docker.io")
    assert find(listed, "a.b.internal:5000") == Listed("*.internal:5000")
    assert find(listed, "a.internal") is None
    assert find(listed, "docker.io.example.com") is None
    assert find(listed, "plain.example.com") == Listed("plain.example.com", "http")


def test_only_this_machine_is_spoken_to_in_the_clear_unless_it_is_listed_so() -> None:
    def url(listed: str, host: str) -> str:
        return Listed.parse(listed).url(host)

    assert url("*", "docker.io") == "https://registry-1.docker.io"
    assert url("*", "registry.example.com:5000") == "https://registry.example.com:5000"
    assert url("*", "10.0.0.1:5000") == "https://10.0.0.1:5000"
    assert [url("*", host) for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000")] == [
        *("http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000")
    ]
    assert url("https://*", "localhost:5000") == "https://localhost:5000"
    assert url("http://*.internal", "a.internal") == "http://a.internal"


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "a/b", "user@a", "a b", "https://a/v2/"])
def test_what_names_no_registry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no registry"):
        Listed.parse(text)


# ── all images of a spec ─────────────────────────────────────────────────────────────────────────────────────────────


def job(*images: str) -> specs.Job:
    tasks = [{"name": f"t{number}", "image": name} for number, name in enumerate(images)]
    return validate.parse({"job": "web", "tasks": tasks})


def asking(way: Outside, *listed: str, patience: float = 30.0) -> Images:
    return Images(tuple(map(Listed.parse, listed or ("localhost:*",))), way, patience=patience)


async def test_all_images_are_asked_for_at_once_and_each_once(way: Outside, there: Fake) -> None:
    one, two = there.has("shop", "1", "{}"), there.has("shop", "2", "[]")
    name = f"{there.host}/shop"
    looked = await asking(way).look(job(f"{name}:1", f"{name}:2", f"{name}:1", f"{name}@{one}", "elsewhere.io/x:1"))
    assert looked.digests == {"t0": one, "t1": two, "t2": one}
    assert looked.doubts == ()
    assert sorted(asked.path for asked in there.asked) == ["/v2/shop/manifests/1", "/v2/shop/manifests/2"]


async def test_nobody_is_asked_who_is_not_listed(way: Outside, there: Fake) -> None:
    there.has("shop", "1", "{}")
    for images in (Images(), asking(way, "registry.example.com")):
        looked = await images.look(job(f"{there.host}/shop:1"))
        assert (looked.digests, looked.doubts) == ({}, ())
    assert there.asked == []


async def test_a_registry_that_says_nothing_is_a_doubt_and_spared_for_a_while(way: Outside, there: Fake) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda _: None
    said = there.has("shop", "2", "{}")
    now = [100.0]
    images = Images((Listed.parse("localhost:*"),), way, patience=0.2, clock=lambda: now[0])
    looked = await images.look(job(f"{there.host}/shop:1", f"{there.host}/shop:2"))
    assert looked.digests == {"t1": said}, "what answered counts, whatever the others do"
    [doubt] = looked.doubts
    assert (doubt.path, doubt.code) == ("tasks[0].image", "image_unresolved")
    assert there.host in doubt.message
    before = len(there.asked)
    looked = await images.look(job(f"{there.host}/shop:2"))
    assert (looked.digests, len(there.asked)) == ({}, before)
    assert "a moment ago" in looked.doubts[0].message
    now[0] += SPARED + 1
    assert (await images.look(job(f"{there.host}/shop:2"))).digests == {"t0": said}


async def test_a_registry_that_is_not_there_is_asked_again_at_once(way: Outside, there: Fake) -> None:
    images = asking(way)
    gone = job("localhost:1/shop:1")
    assert [doubt.code for doubt in (await images.look(gone)).doubts] == ["image_unresolved"]
    assert "a moment ago" not in (await images.look(gone)).doubts[0].message
    there.answers["/v2/shop/manifests/1"] = lambda _: Told(404)
    assert "no such image" in (await images.look(job(f"{there.host}/shop:1"))).doubts[0].message


async def test_who_goes_away_leaves_no_question_behind(way: Outside, there: Fake) -> None:
    there.answers["/v2/shop/manifests/1"] = lambda _: None
    looking = asyncio.create_task(asking(way).look(job(f"{there.host}/shop:1")))
    await eventually(lambda: len(there.asked) == 1, what="the question")
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await eventually(lambda: len(asyncio.all_tasks()) <= 3, what="the end of what was asked")


# ── the real thing ───────────────────────────────────────────────────────────────────────────────────────────────────


@needs("registry")
async def test_debians_registry_says_what_it_said_at_the_push(way: Outside, tmp_path: Path) -> None:
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    with registries.registry(tmp_path / "registry") as there:
        assert isinstance(there, Registry)
        images = asking(way)
        pushed = []
        for annotation in ("one", "two"):
            manifest = {"schemaVersion": 2, "mediaType": kind, "manifests": [], "annotations": {"of": annotation}}
            pushed.append(there.put("team/shop", "1", json.dumps(manifest).encode(), kind))
            assert (await images.look(job(f"{there.host}/team/shop:1"))).digests == {"t0": pushed[-1]}
        assert pushed[0] != pushed[1]
        [doubt] = (await images.look(job(f"{there.host}/team/shop:2"))).doubts
        assert "no such image" in doubt.message
