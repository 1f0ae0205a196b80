"""The process on every node: makes the node match its assignment and reports what it sees.

It holds no database. What to do next is decided by the pure files `step`, `container` and `caddy`; only
`docker_runtime` talks to the container engine.
"""
