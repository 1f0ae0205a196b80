"""`heroctl init`: a first job spec, to be changed by who reads it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from heroctl.cli import output
from heroctl.cli.faults import Fault

_DOCKER: Final = """\
    driver: docker
    image: nginx:1.29-alpine        # pulled by the node that runs it
    # command: [nginx, -g, daemon off;]   # instead of what the image would run
    ports: {http: 80}               # name: port in the container; the node's own port is chosen for you
"""
_PROCESS: Final = """\
    driver: process                 # a plain program, on nodes that allow it: those of `heroctl dev` do
    command: [python3, -m, http.server, "${port.http}"]
    ports: {http: 8080}             # name: port; where to listen is told by ${port.http} and HEROCTL_PORT_HTTP
"""
_SPEC: Final = """\
# A job: what runs, how many of it, and how a new version follows the old one.
#
#   heroctl validate {file}       what is wrong with it; asks no server
#   heroctl job plan {file}       what would change, before anything does
#   heroctl job run {file}        make it so, and wait until it is healthy
#
# `heroctl schema job` prints every field with its meaning, for your editor, too.

job: {name}

# meta: {{git_sha: abc123}}           # your own words; they are kept with each version

tasks:
  - name: web
{driver}
    count: 2                        # so many replicas
    # env: {{MODE: production}}       # every value is text: quote numbers

    resources:                      # what one replica is promised, and may not exceed
      cpu: 0.2                      # cores
      memory: 128MB

    # A replica counts as healthy when this answers 2xx or 3xx. Without a check it counts as soon as it runs.
    health:
      http: /
      interval: 5s
      timeout: 2s
      start_period: 5s              # failures so early do not count
    # health: {{tcp: http}}           # or: the port accepts a connection
    # health: {{command: [test, -f, /tmp/ready]}}     # or: this ends with 0, run within the replica

    # A replica that ends is started again on its node, so often within so long, then on another node.
    restart: {{attempts: 3, interval: 10m, delay: 5s}}

    # A new version takes the place of the old one, replica by replica. If it fails, the old one comes back.
    update:
      strategy: rolling             # or canary, blue-green, rainbow
      max_parallel: 1               # at most so many replicas at a time
      min_healthy_time: 5s          # each proves itself for so long
      healthy_deadline: 2m          # not healthy by then: the version has failed
      auto_revert: true
"""


def init(
    file: Annotated[str, Parameter(allow_leading_hyphen=True, help="Where to write it; - writes to stdout.")] = (
        "job.yaml"
    ),
    /,
    *,
    driver: Annotated[
        Literal["docker", "process"], Parameter(help="What runs it: a container of an image, or a program of the node.")
    ] = "docker",
) -> None:
    """Write a job spec to begin with, explained line by line. A file that is there is left alone."""
    text = starter(file, driver)
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        with open(file, "x", encoding="utf-8") as made:  # noqa: PTH123 - as the user spelled it; x: never over another
            made.write(text)
    except FileExistsError:
        hints = ["choose another name: heroctl init OTHER.yaml", f"or look at it: heroctl validate {file}"]
        raise Fault(f"{file} is there already, and is left as it is", hints=hints) from None
    except OSError as error:
        raise Fault(f"{file} cannot be written: {error.strerror}", hints=["see it: heroctl init -"]) from error
    output.note(f"{file} is written: read it, change it, then\n  heroctl validate {file}\n  heroctl job run {file}")


def starter(file: str, driver: Literal["docker", "process"]) -> str:
    """Make the spec. The job is named like its file."""
    stem = "" if file == "-" else Path(file).stem
    name = re.sub(r"[^a-z0-9-]+", "-", stem.lower()).strip("-")[:63]
    shown = "job.yaml" if file == "-" else os.path.normpath(file)
    parts = _DOCKER if driver == "docker" else _PROCESS
    return _SPEC.format(name=name if name not in ("", "job") else "app", file=shown, driver=parts.rstrip("\n"))
