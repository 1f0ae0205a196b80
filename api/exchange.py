"""One request on its way: what is known of it so far, and what its answer has to carry."""

from __future__ import annotations

from api.access import NOBODY, Principal
from api.answer import Answer
from api.errors import answer_to, refusal_of
from api.limits import Counted
from api.requestlog import NOTHING
from api.row import Row
from heroctl.domain.errors import Refusal


class Exchange:
    """One request on its way: what is known of it so far, and what its answer has to carry."""

    __slots__ = (
        "about",
        "answer",
        "client",
        "counted",
        "head",
        "index",
        "principal",
        "refusal",
        "request_id",
        "row",
        "status",
    )

    def __init__(self, identity: bytes, client: str) -> None:
        self.request_id = identity
        self.client = client
        self.principal: Principal = NOBODY
        self.row: Row | None = None
        self.status = 0
        self.head = False  # only the head of the answer is asked for
        self.answer: Answer | None = None
        self.refusal: Refusal | None = None  # that the answer tells of
        self.counted: Counted | None = None  # against which limit
        self.index = 0  # of the topic asked for, for answers that have none of their own
        self.about = NOTHING

    def fail(self, error: Exception) -> None:
        """Answer whatever was raised."""
        self.refusal = refusal_of(error)
        self.answer = answer_to(error, self.request_id.decode())
        if self.refusal is not None:
            # Its frames hold the request, and that holds this: as long as such a ring lives, a body that is still to
            # come is waited for, and the connection stays.
            self.refusal.__traceback__ = self.refusal.__context__ = self.refusal.__cause__ = None
