"""Settings of the api process: flags, `HEROCTL_*` variables, lines of the settings file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from api import cors
from api.answer import PATIENCE
from api.bounds import Bounds
from api.keys import lines
from api.limits import Sizes
from api.registry import Listed
from eventstore.settings import ControlPlane
from heroctl.domain.addresses import networks
from heroctl.domain.duration import Size
from heroctl.domain.settings import SettingsError, describe

_HIGHEST_PORT: Final = 65_535


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Settings(ControlPlane, frozen=True, kw_only=True):
    """Everything that an api process can be told."""

    listen: Annotated[str, describe("address and port to listen on")] = "127.0.0.1:8080"
    advertise: Annotated[str, describe("address that others reach this process at (default: listen)")] = ""
    redis_advertise: Annotated[
        str, describe("the Redis URL that agents are given, where it is another for them", secret=True)
    ] = ""
    tls_cert: Annotated[str, describe("file of the TLS certificate and its chain, PEM; read again when it changes")] = (
        ""
    )
    tls_key: Annotated[str, describe("file of the TLS key, PEM")] = ""
    behind_proxy: Annotated[bool, describe("listen without TLS on any address: a proxy in front speaks it")] = False
    trusted_proxies: Annotated[
        tuple[str, ...], describe("addresses or networks of proxies whose X-Forwarded-For counts", flag="trusted_proxy")
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        describe(
            "origins whose pages may ask this api from a browser, such as https://console.example.com",
            flag="cors_origin",
        ),
    ] = ()
    admin_password_file: Annotated[
        str,
        describe(
            "first start: the password of user admin is read from here, or, if there is no such file, written here"
        ),
    ] = ""
    signing_key_file: Annotated[
        str,
        describe("file of the keys that sign tokens, one a line, the newest last; without it they are in the database"),
    ] = ""
    secrets_lost_keys: Annotated[
        tuple[str, ...],
        describe("ids of master keys that are lost for good, with all that they sealed", flag="secrets_lost_key"),
    ] = ()
    database_folder: Annotated[
        str,
        describe("folder of the database, where it is on this machine: before its disk is full, writes are refused"),
    ] = ""
    disk_reserve: Annotated[
        Size, describe("what is to stay free on that disk for what the cluster itself must write")
    ] = Size(256 << 20)
    connections: Annotated[int, describe("connections to Postgres for short statements")] = 8
    waiters: Annotated[int, describe("open connections at most, those of long polls included")] = 30_000
    log_budget: Annotated[Size, describe("bytes of what workloads write that are kept in Redis, in all")] = Size(
        256 << 20
    )
    limit_user: Annotated[int, describe("requests that a user, or a user's token, may make in a window")] = 1_000
    limit_service: Annotated[int, describe("requests that a service token may make in a window")] = 5_000
    limit_admin: Annotated[int, describe("requests that an admin may make in a window")] = 10_000
    limit_node: Annotated[int, describe("requests that a node may make in a window")] = 3_000
    limit_address: Annotated[
        int, describe("requests without a valid token that an address, or a /64 of IPv6, may make in a window")
    ] = 600
    limit_window: Annotated[float, describe("the window of these limits, in seconds: any such stretch of time")] = 60.0
    token_waiters: Annotated[int, describe("long polls that one token may have open here at a time")] = 1_000
    token_streams: Annotated[int, describe("streams that one token may have open here at a time")] = 100
    stream_patience: Annotated[
        float, describe("seconds for which a client may take nothing of a stream before it is cut")
    ] = PATIENCE
    exec_idle: Annotated[
        float, describe("seconds without a byte after which a command run in an allocation is ended")
    ] = 3600.0
    exec_longest: Annotated[float, describe("seconds after which such a command is ended in any case")] = 43_200.0
    address_connections: Annotated[int, describe("requests that one address may have open here at a time")] = 1_000
    body_limit: Annotated[Size, describe("size of a request's body at most")] = Size(1 << 20)
    head_limit: Annotated[Size, describe("size of a request's headers at most")] = Size(32 << 10)
    url_limit: Annotated[Size, describe("size of a request's path and query at most")] = Size(8 << 10)
    head_timeout: Annotated[float, describe("seconds for a request's headers to come, or for the next request")] = 10.0
    registries: Annotated[
        tuple[str, ...],
        describe(
            "registries that are asked what a tag stands for: host[:port], http://host[:port] where it speaks no TLS; "
            "* stands for any characters; none: no registry is asked",
            flag="registry",
        ),
    ] = ("docker.io", "ghcr.io", "quay.io", "gcr.io", "registry.k8s.io", "public.ecr.aws", "mcr.microsoft.com")
    registry_networks: Annotated[
        tuple[str, ...],
        describe(
            "addresses or networks that a registry may have though they are private, such as 10.0.0.0/8",
            flag="registry_network",
        ),
    ] = ()
    historians: Annotated[int, describe("processes that answer ?at= at a time, each as large as this one may be")] = 1
    past_timeout: Annotated[float, describe("seconds that an answer to ?at= may take")] = 30.0

    def __post_init__(self) -> None:
        """Refuse what would be unsafe or could not work."""
        problems = [
            *self._past(),
            *self._limits(),
            *self._listening(),
            *self._files(),
            *self._keys(),
            *self.shared_problems(),
            *self._proxies(),
            *self._registries(),
            *self._origins(),
        ]
        if problems:
            raise SettingsError(problems)

    @property
    def address(self) -> Address:
        """Where to listen."""
        host, _, port = self.listen.rpartition(":")
        return Address(host.strip("[]"), int(port))

    @property
    def tls(self) -> bool:
        """Whether to speak TLS."""
        return bool(self.tls_cert)

    @property
    def sizes(self) -> Sizes:
        """The limits."""
        return Sizes(
            self.limit_user,
            self.limit_service,
            self.limit_admin,
            self.limit_node,
            self.limit_address,
            self.limit_window,
        )

    @property
    def bounds(self) -> Bounds:
        """What is taken of one request."""
        return Bounds(
            self.url_limit.bytes,
            self.head_limit.bytes,
            self.body_limit.bytes,
            self.address_connections,
            self.stream_patience,
            self.exec_idle,
            self.exec_longest,
        )

    def _limits(self) -> list[str]:
        counts = (
            "waiters",
            "limit_user",
            "limit_service",
            "limit_admin",
            "limit_node",
            "limit_address",
            "token_waiters",
            "token_streams",
            "address_connections",
        )
        problems = [f"--{name.replace('_', '-')}: 1 or more" for name in counts if getattr(self, name) < 1]
        if not 1 <= self.limit_window <= 3600:
            problems.append("--limit-window: 1 to 3600 seconds")
        if not 1 <= self.stream_patience <= 600:
            problems.append("--stream-patience: 1 to 600 seconds")
        if not 1 <= self.exec_idle <= self.exec_longest:
            problems.append("--exec-idle: 1 second or more, and at most --exec-longest")
        if not 1 <= self.head_timeout <= 60:
            problems.append("--head-timeout: 1 to 60 seconds")
        sizes = {
            "--body-limit": (self.body_limit, 1 << 10, 64 << 20),
            "--head-limit": (self.head_limit, 4 << 10, 256 << 10),
            "--url-limit": (self.url_limit, 1 << 10, 32 << 10),
        }
        return problems + [
            f"{flag}: {Size(least)} to {Size(most)}"
            for flag, (size, least, most) in sizes.items()
            if not least <= size.bytes <= most
        ]

    def _listening(self) -> list[str]:
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT:
            return [f"--listen: {self.listen!r} is not an address and a port, such as 127.0.0.1:8080"]
        if self.address.is_loopback or self.tls or self.behind_proxy:
            return []
        why = "is open to other machines: passwords and tokens would travel in the clear"
        return [
            f"--listen: {self.listen} {why}. Give --tls-cert and --tls-key, or --behind-proxy if a proxy speaks TLS"
        ]

    def _past(self) -> list[str]:
        problems = []
        if not 1 <= self.historians <= 8:
            problems.append("--historians: 1 to 8")
        if not 0 < self.past_timeout <= 600:
            problems.append("--past-timeout: more than 0, at most 600 seconds")
        return problems

    def _origins(self) -> list[str]:
        return [f"--cors-origin: {found}" for origin in self.cors_origins if (found := cors.problem(origin))]

    def _proxies(self) -> list[str]:
        try:
            networks(self.trusted_proxies)
        except ValueError as error:
            return [f"--trusted-proxy: {error}"]
        return []

    def _registries(self) -> list[str]:
        try:
            tuple(map(Listed.parse, self.registries))
        except ValueError as error:
            return [f"--registry: {error}"]
        try:
            networks(self.registry_networks)
        except ValueError as error:
            return [f"--registry-network: {error}"]
        return []

    def _keys(self) -> list[str]:
        try:
            if self.signing_key_file:
                lines(Path(self.signing_key_file))
        except OSError as error:
            return [f"--signing-key-file: {self.signing_key_file}: {error.strerror}"]
        except ValueError as error:
            return [f"--signing-key-file: {error}. A line of `openssl rand -hex 32` is a good key"]
        return []

    def _files(self) -> list[str]:
        if bool(self.tls_cert) != bool(self.tls_key):
            return ["--tls-cert and --tls-key: one needs the other"]
        given = {"--tls-cert": self.tls_cert, "--tls-key": self.tls_key}
        if self.database_folder and not Path(self.database_folder).is_dir():
            return [f"--database-folder: there is no folder {self.database_folder}"]
        return [f"{flag}: there is no file {name}" for flag, name in given.items() if name and not Path(name).is_file()]
