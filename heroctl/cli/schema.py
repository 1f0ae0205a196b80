"""`heroctl schema`: what files are written by, for editors and pipelines. It asks no cluster."""

from __future__ import annotations

import sys

import msgspec
from cyclopts import App

app = App(name="schema")


@app.command
def job() -> None:
    """Print the JSON Schema of a job spec; the api serves the same at `/v1/schema/job.json`."""
    from heroctl.domain import jobschema

    written = msgspec.json.format(msgspec.json.encode(jobschema.document()), indent=2)
    sys.stdout.write(written.decode() + "\n")
