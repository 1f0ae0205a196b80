"""What secrets mean for a job: a version of its own when they change, and no replica that would have to do without.

A change of several at once is one version. It follows whatever goes on, as a submit would; but what somebody paused it
does not set going again: it waits until that goes on. A version that was repeated with older secrets (by a rollback, or
the way back) keeps them until one of them changes again.
"""

from __future__ import annotations

from heroctl.domain.events import JobRepinned
from heroctl.domain.intents.change import job_stream
from heroctl.domain.intents.secrets import secret_stream
from heroctl.domain.pinning import lacking, repinned
from reconciler.planner.draft import Draft


def repin(draft: Draft) -> bool:
    """Let a job have a version with other secrets, if it is to. Tells whether it does: the rest is for later."""
    job, deployment = draft.job, draft.deployment
    if draft.full or (deployment is not None and deployment.status == "paused"):
        return False
    tasks = repinned(draft.scene.state, job)
    if not tasks:
        return False
    before = {(task.name, pin) for task in job.current.tasks for pin in task.pins}
    moved = sorted({pin[0] for task in tasks for pin in task.pins if (task.name, pin) not in before})
    number = job.current.version + 1
    draft.events.append(JobRepinned(job.uid, job.namespace, job.name, number, tasks, tuple(moved)))
    draft.moves = (job_stream(job.namespace, job.name),)
    draft.judged = tuple(secret_stream(job.namespace, name) for name in moved)
    return True


def withheld(draft: Draft, version: int, task: str) -> list[str]:
    """Say which secrets a replica of a version would have to do without."""
    known = draft.job.version(version)
    summary = known.task(task) if known is not None else None
    return [] if summary is None else lacking(draft.scene.state, draft.job.namespace, summary)
