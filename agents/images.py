"""Which images may go: of those that the agent brought here, what nobody uses, the longest unused first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from heroctl.domain.image import Reference, read


def seen(known: Mapping[str, float], used: Collection[str], now: float) -> dict[str, float]:
    """Note when each was last in use. `known`: when it was before, by image; times are seconds since the epoch."""
    return {image: now if image in used else min(at, now) for image, at in known.items()}


def spare(known: Mapping[str, float], used: Collection[str], now: float, keep: float) -> list[str]:
    """Name those that nobody uses and nobody has for `keep` seconds, the longest unused first."""
    unused = ((at, image) for image, at in known.items() if image not in used and at <= now - keep)
    return [image for _, image in sorted(unused)]


def names(used: Iterable[str], digests: Iterable[str]) -> bool:
    """Tell whether one of the images in use is named by a digest that this one was pulled as."""
    wanted = {_named(read(image)) for image in used} - {None}
    return any(_named(read(digest)) in wanted for digest in digests)


def _named(reference: Reference | None) -> tuple[str, str, str] | None:
    return (reference.host, reference.repository, reference.digest) if reference and reference.digest else None
