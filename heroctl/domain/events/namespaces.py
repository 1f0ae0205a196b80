"""Events of namespaces."""

from __future__ import annotations

from typing import ClassVar

from heroctl.domain.events.event import Event


class NamespaceCreated(Event, frozen=True, gc=False, omit_defaults=True):
    """Jobs may come into this namespace."""

    TAG: ClassVar[str] = "namespace.created"
    name: str
    description: str = ""


class NamespaceUpdated(Event, frozen=True, gc=False, omit_defaults=True):
    """A namespace is described anew."""

    TAG: ClassVar[str] = "namespace.updated"
    name: str
    description: str


class NamespaceDeleted(Event, frozen=True, gc=False, omit_defaults=True):
    """An empty namespace is to go: it is no more, unless a job came into it just before; then it stays."""

    TAG: ClassVar[str] = "namespace.deleted"
    name: str
