"""The pure deciders: from a folded state and a time, the decisions that bring the cluster closer to what is wanted.

No clock, randomness or I/O; the same input gives the same plan, in the same order. `plan` is the way in.
"""

from reconciler.planner.liveness import Heard
from reconciler.planner.piece import Fault, Piece, Plan
from reconciler.planner.plan import Memo, plan

__all__ = ["Fault", "Heard", "Memo", "Piece", "Plan", "plan"]
