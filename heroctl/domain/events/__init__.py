"""Every event there is. A tag is a domain word and stays for ever; a changed payload raises its schema number.

Each class names its writer: `intent` (an api, for a user or an agent's session), `report` (an api, for an agent's
observations) or `decision` (the coordinator, under its epoch). Payloads hold no secret value and no hash: credentials
are rows of the vault, named here by their id. Times that an agent gives are elapsed seconds, never instants.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from heroctl.domain.events.access import (
    JoinTokenCreated,
    PolicyDeleted,
    PolicySet,
    RoleDeleted,
    RoleSet,
    TokenCreated,
    TokenDeleted,
    TokenKind,
    UserCreated,
    UserDeleted,
    UserPasswordChanged,
    UserUpdated,
)
from heroctl.domain.events.alerts import AlertDeleted, AlertFired, AlertResolved, AlertSet
from heroctl.domain.events.allocs import (
    AllocExecEnded,
    AllocExecRequested,
    AllocFailed,
    AllocGivenUp,
    AllocMisplaced,
    AllocPlaced,
    AllocReported,
    AllocRestartRequested,
    AllocSignalRequested,
    AllocStopping,
    AllocStopRequested,
)
from heroctl.domain.events.cluster import (
    BrakeOff,
    BrakeOn,
    BrakeRequested,
    ClusterCreated,
    ClusterSettingsSet,
    CoordinatorElected,
    CoordinatorTransferred,
    IncarnationDrawn,
    LevelRaised,
    MemberJoined,
    MemberLeft,
)
from heroctl.domain.events.event import Event, Meta, Opaque, Record, Writer
from heroctl.domain.events.jobs import (
    DeploymentFailRequested,
    DeploymentFinished,
    DeploymentPaused,
    DeploymentPromoted,
    DeploymentResumed,
    DeploymentStepped,
    ImagePinned,
    JobBlocked,
    JobDeleted,
    JobDeployed,
    JobFailed,
    JobPlanFailed,
    JobRebalanceBegun,
    JobRebalanced,
    JobRebalanceRequested,
    JobRepinned,
    JobRestarted,
    JobReverted,
    JobStopped,
    JobSubmitted,
    TaskSummary,
)
from heroctl.domain.events.launches import JobDispatched, JobLaunched, JobLaunchFinished, JobLaunchSkipped
from heroctl.domain.events.namespaces import NamespaceCreated, NamespaceDeleted, NamespaceUpdated
from heroctl.domain.events.nodes import (
    NodeContainersReleased,
    NodeDown,
    NodeDrainCancelled,
    NodeDrainFinished,
    NodeDrainStarted,
    NodeEligibilitySet,
    NodeRegistered,
    NodeRemoved,
    NodeSessionOpened,
    NodeUnknownContainers,
    NodeUp,
)
from heroctl.domain.events.schemas import STEPS, TooNew, earlier, upcast
from heroctl.domain.events.secrets import SecretDeleted, SecretRead, SecretsRekeyed, SecretWritten
from heroctl.domain.events.sessions import SessionEnded, SessionOpened, SigningKeyRotated
from heroctl.domain.events.webhooks import (
    DisableReason,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookPinged,
    WebhookRedelivered,
    WebhookRotated,
    WebhookUpdated,
)
from heroctl.domain.level import FIELDS
from heroctl.domain.spec import decode_hook, encode_hook

__all__ = [
    "EVENTS",
    "AlertDeleted",
    "AlertFired",
    "AlertResolved",
    "AlertSet",
    "AllocExecEnded",
    "AllocExecRequested",
    "AllocFailed",
    "AllocGivenUp",
    "AllocMisplaced",
    "AllocPlaced",
    "AllocReported",
    "AllocRestartRequested",
    "AllocSignalRequested",
    "AllocStopRequested",
    "AllocStopping",
    "BrakeOff",
    "BrakeOn",
    "BrakeRequested",
    "ClusterCreated",
    "ClusterSettingsSet",
    "CoordinatorElected",
    "CoordinatorTransferred",
    "DeploymentFailRequested",
    "DeploymentFinished",
    "DeploymentPaused",
    "DeploymentPromoted",
    "DeploymentResumed",
    "DeploymentStepped",
    "DisableReason",
    "Event",
    "ImagePinned",
    "IncarnationDrawn",
    "JobBlocked",
    "JobDeleted",
    "JobDeployed",
    "JobDispatched",
    "JobFailed",
    "JobLaunchFinished",
    "JobLaunchSkipped",
    "JobLaunched",
    "JobPlanFailed",
    "JobRebalanceBegun",
    "JobRebalanceRequested",
    "JobRebalanced",
    "JobRepinned",
    "JobRestarted",
    "JobReverted",
    "JobStopped",
    "JobSubmitted",
    "JoinTokenCreated",
    "LevelRaised",
    "MemberJoined",
    "MemberLeft",
    "Meta",
    "NamespaceCreated",
    "NamespaceDeleted",
    "NamespaceUpdated",
    "NodeContainersReleased",
    "NodeDown",
    "NodeDrainCancelled",
    "NodeDrainFinished",
    "NodeDrainStarted",
    "NodeEligibilitySet",
    "NodeRegistered",
    "NodeRemoved",
    "NodeSessionOpened",
    "NodeUnknownContainers",
    "NodeUp",
    "Opaque",
    "PolicyDeleted",
    "PolicySet",
    "Record",
    "RoleDeleted",
    "RoleSet",
    "SecretDeleted",
    "SecretRead",
    "SecretWritten",
    "SecretsRekeyed",
    "SessionEnded",
    "SessionOpened",
    "SigningKeyRotated",
    "TaskSummary",
    "TokenCreated",
    "TokenDeleted",
    "TokenKind",
    "TooNew",
    "UserCreated",
    "UserDeleted",
    "UserPasswordChanged",
    "UserUpdated",
    "WebhookCreated",
    "WebhookDeleted",
    "WebhookDisabled",
    "WebhookPinged",
    "WebhookRedelivered",
    "WebhookRotated",
    "WebhookUpdated",
    "Writer",
    "decode",
    "decode_meta",
    "encode",
    "encode_meta",
    "payload",
    "release_level",
]


def _classes(parent: type[Event]) -> dict[str, type[Event]]:
    return {kind.TAG: kind for kind in parent.__subclasses__() if kind.TAG}


EVENTS: Final[dict[str, type[Event]]] = _classes(Event)
_DECODERS: Final[dict[tuple[str, int], msgspec.json.Decoder[Event]]] = {
    (tag, kind.SCHEMA): msgspec.json.Decoder(kind, dec_hook=decode_hook) for tag, kind in EVENTS.items()
}
_ENCODER: Final = msgspec.json.Encoder(enc_hook=encode_hook)
_META_DECODER: Final = msgspec.json.Decoder(Meta)


def release_level() -> int:
    """Return the greatest level of a log that this release can fold, and act upon."""
    return max(1, *(kind.LEVEL for kind in EVENTS.values()), *FIELDS.values())


def encode(event: Event, level: int | None = None) -> tuple[str, int, bytes]:
    """Return an event's tag, schema number and payload (JSON), as a log at a level takes it.

    Below the level of the event's schema that is the newest earlier one that may be written; `TooNew` where none can
    say it. None: whatever the log's level.
    """
    if isinstance(event, Opaque):
        return event.tag, event.schema, event.data
    written = event.TAG, event.SCHEMA, _ENCODER.encode(event)
    return written if level is None or level >= event.LEVEL else earlier(written, level)


def decode(tag: str, schema: int, data: bytes) -> Event:
    """Read an event back. One whose tag or schema is unknown comes back `Opaque`; a broken payload raises."""
    decoder = _DECODERS.get((tag, schema))
    if decoder is not None:
        return decoder.decode(data)
    if (tag, schema) not in STEPS:
        return Opaque(tag, schema, data)
    return decode(*upcast(tag, schema, data))


def encode_meta(meta: Meta) -> bytes:
    """Write who and why of an append."""
    return _ENCODER.encode(meta)


def decode_meta(data: bytes) -> Meta:
    """Read who and why of an append."""
    return _META_DECODER.decode(data)


def payload(event: Event) -> Any:  # noqa: ANN401 - JSON
    """Return an event's payload as plain JSON values, for those who show it."""
    return msgspec.json.decode(encode(event)[2])
