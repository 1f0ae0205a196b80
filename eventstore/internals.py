"""What a process counts of its own work: how long appends, folds, plans and requests take, and what waits.

A process has one of these, like its log lines: who works counts here, and who is asked shows it (`families`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from heroctl.domain.exposition import Family, Sample, gauge, labelled, number

# Seconds; each request is put into the first that it does not exceed.
BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labelled = tuple[Mapping[str, str], float]


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def samples(self, name: str, labels: str) -> list[Sample]:
        """Write it, as Prometheus wants histograms."""
        made, count, before = [], 0, f"{labels}," if labels else ""
        for bound, counted in zip((*map(number, BOUNDS), "+Inf"), self.counts, strict=True):
            count += counted
            made.append(Sample(f"{name}_bucket", f'{before}le="{bound}"', str(count)))
        return [*made, Sample(f"{name}_sum", labels, repr(self.total)), Sample(f"{name}_count", labels, str(count))]


class Internals:
    """All that a process counts. A gauge of a name that is there already takes its place."""

    def __init__(self) -> None:
        self.append = Histogram()
        self.fold = Histogram()
        self.plan = Histogram()
        self._requests: dict[tuple[str, str, int], Histogram] = {}
        self._gauges: dict[str, tuple[str, Callable[[], Iterable[Labelled]]]] = {}

    def gauge(self, name: str, help_: str, read: Callable[[], float]) -> None:
        """Show what `read` gives, whenever somebody asks."""
        self.gauges(name, help_, lambda: [({}, read())])

    def gauges(self, name: str, help_: str, read: Callable[[], Iterable[Labelled]]) -> None:
        """Show what `read` gives, a value for each set of labels."""
        self._gauges[name] = (help_, read)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered. `route`: "", if there is none: then its method may be any word."""
        key = (method if route else "", route, status // 100)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = Histogram()
        found.observe(seconds)

    def families(self) -> list[Family]:
        """Show all of it."""
        work = (
            ("heroctl_append_seconds", "From an append's call to its answer", self.append),
            ("heroctl_fold_seconds", "A page of the log, folded", self.fold),
            ("heroctl_plan_seconds", "A pass of the planner", self.plan),
        )
        made = [
            Family(name, "histogram", said, histogram.samples(name, ""))
            for name, said, histogram in work
            if any(histogram.counts)
        ]
        if self._requests:
            name = "heroctl_api_request_seconds"
            rows = [
                sample
                for (method, route, kind), histogram in sorted(self._requests.items())
                for sample in histogram.samples(
                    name, labelled({"method": method, "route": route, "status": f"{kind}xx"})
                )
            ]
            made.append(
                Family(name, "histogram", "Requests, by route and kind of answer; long polls with their wait", rows)
            )
        return [*made, *(gauge(name, said, read()) for name, (said, read) in sorted(self._gauges.items()))]


INTERNALS: Final = Internals()
