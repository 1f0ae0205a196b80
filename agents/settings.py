"""Settings of an agent: each is a flag, a HEROCTL_* variable and a line of the settings file's table `[agent]`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from agents import rights
from agents.disk import CROWDED, LOW
from agents.ports import PortRange
from heroctl.domain.duration import Duration, Size
from heroctl.domain.settings import describe
from heroctl.domain.spec import DYNAMIC_PORTS


class Settings(Struct, frozen=True, kw_only=True):
    """One agent; several on one machine have a name, data folder, port range and share of the machine each."""

    api: Annotated[tuple[str, ...], Meta(min_length=1), describe("URL of an api; more than one: any that answers")]
    name: Annotated[str, describe("the node's name; the host's by default")] = ""
    join_token: Annotated[str, describe("lets a server join, once; not needed afterwards", secret=True)] = ""
    data: Annotated[str, describe("folder for what must survive a restart")] = "/var/lib/heroctl-agent"
    ca_cert: Annotated[str, describe("file with the certificates that the api's is checked by")] = ""
    address: Annotated[str, describe("where other servers reach this one; found out by default")] = ""
    labels: Annotated[dict[str, str], describe("label of this node; may be repeated", flag="label")] = field(
        default_factory=dict
    )
    runtime: Annotated[
        Literal["docker", "process", "fake"],
        describe("what runs the tasks; process: programs without isolation; fake: nothing runs, for trials"),
    ] = "docker"
    allow_process: Annotated[bool, describe("run tasks as plain processes, too: without isolation")] = False
    allow_privileged: Annotated[bool, describe("run privileged containers: they are root on this machine")] = False
    allow_host_network: Annotated[bool, describe("run containers in this machine's network")] = False
    allow_host_namespaces: Annotated[bool, describe("let containers see this machine's processes, and its ipc")] = False
    allow_devices: Annotated[
        tuple[str, ...],
        describe("device, or folder of devices, that containers may have; may be repeated", flag="allow-device"),
    ] = ()
    allow_capabilities: Annotated[
        tuple[str, ...],
        describe("capability that containers may add, ALL for any; may be repeated", flag="allow-capability"),
    ] = ()
    allow_host_paths: Annotated[
        tuple[str, ...],
        describe(
            "path of this machine that containers may mount, with what is below; may be repeated",
            flag="allow-host-path",
        ),
    ] = ()
    docker: Annotated[str, describe("URL of the Docker engine; DOCKER_HOST or the usual socket by default")] = ""
    publish: Annotated[str, describe("address that published ports listen on; all by default")] = ""
    ports: Annotated[PortRange, describe("range of the ports this agent may give out")] = PortRange(
        DYNAMIC_PORTS.start, DYNAMIC_PORTS.stop - 1
    )
    cpu: Annotated[Annotated[float, Meta(gt=0)] | None, describe("cores for allocations; all by default")] = None
    memory: Annotated[Size | None, describe("memory for allocations; all by default")] = None
    disk: Annotated[Size | None, describe("disk for allocations; all of the data folder's by default")] = None
    tmpfs: Annotated[
        str, describe("folder in memory (a tmpfs) for files with secrets; found, or mounted by root, by default")
    ] = ""
    disk_crowded: Annotated[
        Annotated[int, Meta(ge=0, le=100)],
        describe("percent of the disk in use from which images that nobody uses are removed, if the agent pulled them"),
    ] = CROWDED
    disk_low: Annotated[
        Annotated[int, Meta(ge=1, le=101)],
        describe("percent of the disk in use from which no image is pulled; 101: never mind"),
    ] = LOW
    keep_images: Annotated[Duration, describe("time for which an image stays after it was last used")] = Duration(
        600_000
    )
    log_size: Annotated[Size, describe("bytes of an allocation's output that can be read in the cluster")] = Size(
        2 << 20
    )
    log_lines: Annotated[
        Annotated[int, Meta(ge=100, le=1_000_000)], describe("lines of an allocation's output that can be read there")
    ] = 10_000
    log_rate: Annotated[
        Size,
        describe("bytes a second of one allocation's output that are shipped; what is above is counted and dropped"),
    ] = Size(256 << 10)
    log_forward_file: Annotated[
        str, describe("file that workloads' output is also appended to, as JSON lines; rotated")
    ] = ""
    log_forward_size: Annotated[Size, describe("bytes of that file from which another is begun")] = Size(64 << 20)
    log_forward_files: Annotated[
        Annotated[int, Meta(ge=1, le=1000)], describe("how many of these files are kept, the newest among them")
    ] = 5
    log_forward_otlp: Annotated[
        str,
        describe(
            "URL of an OTLP/HTTP endpoint that workloads' output is also sent to, such as http://collector:4318; "
            "needs the extra otlp"
        ),
    ] = ""
    traces_otlp: Annotated[
        str,
        describe(
            "URL of an OTLP/HTTP endpoint that traces are sent to, such as http://collector:4318; "
            "OTEL_EXPORTER_OTLP_ENDPOINT by default; needs the extra otlp"
        ),
    ] = ""
    stop_workloads_on_exit: Annotated[bool, describe("take the workloads along when asked to end")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        describe("the least that is logged, where the cluster asks for none"),
    ] = "info"
    log_format: Annotated[Literal["json", "console"], describe("how it is logged: to programs, or to people")] = "json"

    def __post_init__(self) -> None:
        """Check what single settings cannot show."""
        for url in self.api:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"--api: {url!r} is not a URL such as https://heroctl.example.com")
        if self.disk_crowded >= self.disk_low:
            raise ValueError("--disk-crowded: it must be below --disk-low, or room would be made too late")
        if not 64 << 10 <= self.log_size.bytes <= 64 << 20:
            raise ValueError("--log-size: 64KiB to 64MiB")
        if not 1 << 10 <= self.log_rate.bytes <= 16 << 20:
            raise ValueError("--log-rate: 1KiB to 16MiB")
        if self.log_forward_size.bytes < 64 << 10:
            raise ValueError("--log-forward-size: at least 64KiB")
        for problem in rights.problems(self.allow_devices, self.allow_capabilities, self.allow_host_paths):
            raise ValueError(problem)
