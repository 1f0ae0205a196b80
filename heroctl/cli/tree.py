"""The tree of commands. Each noun's file is imported when one of its commands runs, not before."""

from __future__ import annotations

import sys
from typing import Annotated, Final

from cyclopts import App, Parameter

from heroctl.cli import processes

HELP: Final = "Submit jobs to a HeroCtl cluster, see what they do, and run the cluster's processes."
NOUNS: Final = {
    "job": ("heroctl.cli.jobs:app", "Plan, run, look at, change, stop and remove jobs."),
    "alloc": ("heroctl.cli.allocs:app", "Look at allocations, the replicas of jobs, and stop them."),
    "deployment": (
        "heroctl.cli.deployments:app",
        "Look at deployments, the roll-outs of jobs' versions, and steer them.",
    ),
    "metrics": ("heroctl.cli.metrics:app", "See what nodes and allocations use, now and over time."),
    "alert": ("heroctl.cli.alerts:app", "Be told when what is measured crosses a threshold."),
    "node": ("heroctl.cli.nodes:app", "Look at nodes, let them in, empty them, remove them."),
    "service": ("heroctl.cli.services:app", "See where the healthy replicas of jobs take connections."),
    "cluster": ("heroctl.cli.cluster:app", "Look at the cluster as a whole: its processes and its settings."),
    "log": ("heroctl.cli.log:app", "Read the cluster's history, prove it, and play it again."),
    "schema": ("heroctl.cli.schema:app", "Print the schemas that files are written by."),
    "secret": ("heroctl.cli.secrets:app", "Keep secrets: make, change, list, read, roll back and delete them."),
    "webhook": ("heroctl.cli.webhooks:app", "Have others told what happens, and see how that goes."),
    "namespace": ("heroctl.cli.namespaces:app", "Look at namespaces, make and remove them."),
    "acl": ("heroctl.cli.acl:app", "Say who may use the cluster, and what they may: users, tokens, roles, policies."),
    "context": ("heroctl.cli.contexts:app", "Choose among the clusters that this machine knows."),
}
_VALIDATE: Final = """Check job specs, without a server.

All that is wrong is told at once. Ends with 1 if one of them has a problem; warnings are only told.
"""
_APPLY: Final = """Make a cluster's jobs what the files of a folder say.

Shows what would be done, does it, and waits until all are healthy. A spec with a problem stops everything before
anything is done. Jobs go out side by side; what is to be pruned goes last, and only if all went well. Ends as `job run`
does; with `--dry-run --detailed-exitcode`, as `job plan` does.
"""
VERBS: Final = {
    "login": ("heroctl.cli.contexts:login", "Log in to a cluster and save it as a context."),
    "logout": ("heroctl.cli.contexts:logout", "End the session of a context."),
    "init": ("heroctl.cli.starter:init", "Write a job spec to begin with, explained line by line."),
    "validate": ("heroctl.cli.validating:validate", _VALIDATE),
    "apply": ("heroctl.cli.applying:apply", _APPLY),
    "doctor": ("heroctl.cli.doctor:doctor", "Look over all that a cluster needs, and say what to mend."),
    "audit": ("heroctl.cli.audit:audit", "Show who did what, when and from where, and what was refused."),
    "events": ("heroctl.cli.events:events", "Show what happened in the cluster, and what happens."),
    "logs": ("heroctl.cli.logs:logs", "Show what workloads write, of many allocations in one."),
    "top": ("heroctl.cli.metrics:top", "Show who uses most, now: nodes and allocations, the greatest first."),
    "status": ("heroctl.cli.cluster:status", "Show how the cluster is."),
}
_EXITS: Final = "Exit codes: 0 done, 1 usage or refused by the API, 2 failed, 3 timed out, 4 blocked, 130 interrupted."

Words = Annotated[str, Parameter(allow_leading_hyphen=True, help="Settings of the process; --help lists them.")]


def make(*, plain: bool) -> App:
    """Make the tree; `plain` help has neither boxes nor colour."""
    app = App(
        name="heroctl",
        help=HELP,
        help_epilogue=_EXITS,
        help_formatter="plain" if plain else "default",
        help_format="markdown",
        version=processes.version,
        suppress_keyboard_interrupt=False,
    )
    for name, (where, text) in NOUNS.items():
        app.command(where, name=name, help=text)
    for name, (where, text) in VERBS.items():
        app.command(where, name=name, help=text)
    serve = App(name="serve", help="Run one process of the control plane.")
    serve.command(_api, name="api")
    serve.command(_reconciler, name="reconciler")
    app.command(serve)
    admin = App(name="admin", help="What is done on a server, beside the API.")
    admin.command(_reset_password, name="reset-password")
    app.command(admin)
    app.command(_agent, name="agent")
    app.command(_dev, name="dev")
    app.command(_version, name="version")
    return app


def _api(*settings: Words) -> None:
    """Run an api: HTTP for people, machines and agents."""
    _become("serve", "api", *settings)


def _reconciler(*settings: Words) -> None:
    """Run a reconciler: one of them coordinates, the others stand by."""
    _become("serve", "reconciler", *settings)


def _agent(*settings: Words) -> None:
    """Run the agent of this node: it starts, watches and stops allocations."""
    _become("agent", *settings)


def _dev(*settings: Words) -> None:
    """Run a whole cluster on this machine: Postgres, Valkey, api, reconciler and agents."""
    _become("dev", *settings)


def _reset_password(*settings: Words) -> None:
    """Give a user another password, with the database alone: for who is locked out.

    `--dsn` names the database, `--user` whom (admin unless given). The password is read from stdin with
    `--password-stdin`, never from the command line; without that one is made, and shown once.
    """
    _become("admin", "reset-password", *settings)


def _version() -> None:
    """Show the version of this command line."""
    sys.stdout.write(f"heroctl {processes.version()}\n")


def _become(*words: str) -> None:
    if command := processes.command(words):
        processes.replace(command)
