"""The pure deciders: from a folded state and a time, the decisions that bring the cluster closer to what is wanted.

No clock, randomness or I/O; the same input gives the same plan, in the same order. `plan.plan` is the way in.
"""
