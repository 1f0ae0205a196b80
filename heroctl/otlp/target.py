"""Where to send what is told by OTLP: by our own setting, and by OpenTelemetry's variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

Signal = Literal["logs", "traces"]

MISSING: Final = "the extra `otlp` is not installed: pip install 'heroctl[otlp]'"
PATIENCE: Final = 10.0  # seconds for one request, where nobody says otherwise


class Unusable(ValueError):  # noqa: N818 - a refusal
    """It cannot be as it was asked for, and why, in words for who did."""


class Target(Struct, frozen=True):
    """An endpoint. `certificate`: file of the certificates that its own is checked by; "": the machine's."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    gzip: bool = False
    patience: float = PATIENCE
    certificate: str = ""


def asked(setting: str, env: Mapping[str, str], signal: Signal) -> str:
    """Name the endpoint that was asked for; "": none was, or OpenTelemetry is switched off for this process."""
    if setting:
        return _whole(setting, signal)
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    own = env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    common = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    return own or (_whole(common, signal) if common else "")


def target(url: str, env: Mapping[str, str], signal: Signal) -> Target:
    """Read how to send there. Raises Unusable; so where the extra is not installed."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or _port(url) is None:
        raise Unusable(f"{url!r} is not the URL of an OTLP/HTTP endpoint such as http://collector:4318")

    def said(name: str) -> str:
        own = env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", "").strip()
        return own or env.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()

    protocol, compression = said("PROTOCOL") or "http/protobuf", said("COMPRESSION") or "none"
    if protocol != "http/protobuf":
        raise Unusable(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not spoken here: http/protobuf is")
    if compression not in ("gzip", "none"):
        raise Unusable(f"OTEL_EXPORTER_OTLP_COMPRESSION: {compression!r} is neither gzip nor none")
    return Target(
        url, _headers(said("HEADERS")), compression == "gzip", _patience(said("TIMEOUT")), said("CERTIFICATE")
    )


def _whole(url: str, signal: Signal) -> str:
    return url if urlsplit(url).path.endswith(f"/v1/{signal}") else f"{url.rstrip('/')}/v1/{signal}"


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port or 1
    except ValueError:
        return None


def _headers(text: str) -> dict[str, str]:
    try:
        from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415 - an extra, which may not be there
    except ImportError as error:
        raise Unusable(MISSING) from error
    return dict(parse_env_headers(text, liberal=True))


def _patience(text: str) -> float:
    try:
        seconds = float(text) if text else PATIENCE
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise Unusable(f"OTEL_EXPORTER_OTLP_TIMEOUT: {text!r} is not a number of seconds up to 60")
    return seconds
