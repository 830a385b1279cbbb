"""What a server has done, for all its processes: numbers in memory that they share.

Every process adds to its own row of the table, so nothing is locked; whoever is asked for the
metrics adds the rows up. The text is Prometheus' exposition format, version 0.0.4.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

STATUSES = (200, 400, 401, 403, 404, 405, 411, 413, 415, 422, 429, 500, 503)
BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"  # a path that is none of ours

HELP = {
    "autoif_requests_total": ("counter", "Requests by route and HTTP status"),
    "autoif_completions_total": ("counter", "Completions judged"),
    "autoif_unscored_total": ("counter", "Completions without a reward, those unread included"),
    "autoif_hacks_total": ("counter", "Completions that met constraints and said nothing"),
    "autoif_unread_total": ("counter", "Completions whose verifiers or text could not be read"),
    "autoif_pending_completions": ("gauge", "Completions that are being judged"),
    "autoif_request_seconds": ("histogram", "From the request's head to the answer"),
}


class Counters:
    """routes: the paths that are told apart. Made before the processes are forked."""

    def __init__(self, routes: Sequence[str], processes: int) -> None:
        series = [
            *(f'autoif_requests_total{{route="{route}",status="{status}"}}'
              for route in (*routes, OTHER) for status in STATUSES),
            "autoif_completions_total", "autoif_unscored_total", "autoif_hacks_total",
            "autoif_unread_total",
            "autoif_pending_completions",
            *(f'autoif_request_seconds_bucket{{le="{le}"}}' for le in (*BUCKETS, "+Inf")),
            "autoif_request_seconds_sum", "autoif_request_seconds_count",
        ]  # fmt: skip
        self._places = {name: n for n, name in enumerate(series)}
        self._routes = {*routes}
        self._table = memoryview(mmap.mmap(-1, 8 * len(series) * processes)).cast("d")
        self._row = 0

    def become(self, process: int) -> None:
        """This process adds to the row of that number, from 0. What a lost one had pending is
        gone."""
        self._row = process * len(self._places)
        self._table[self._row + self._places["autoif_pending_completions"]] = 0

    def add(self, name: str, n: float = 1) -> None:
        self._table[self._row + self._places[name]] += n

    def request(self, route: str, status: int, seconds: float) -> None:
        route = route if route in self._routes else OTHER
        status = status if status in STATUSES else 500
        self.add(f'autoif_requests_total{{route="{route}",status="{status}"}}')
        for le in BUCKETS:
            if seconds <= le:
                self.add(f'autoif_request_seconds_bucket{{le="{le}"}}')
        self.add('autoif_request_seconds_bucket{le="+Inf"}')
        self.add("autoif_request_seconds_sum", seconds)
        self.add("autoif_request_seconds_count")

    def total(self, name: str) -> float:
        return sum(self._table[self._places[name] :: len(self._places)])

    def text(self) -> str:
        lines: list[str] = []
        for metric, (kind, text) in HELP.items():
            lines += [f"# HELP {metric} {text}", f"# TYPE {metric} {kind}"]
            for name in self._places:
                if name == metric or name.startswith((f"{metric}{{", f"{metric}_")):
                    value = self.total(name)
                    if value or "status=" not in name:
                        lines.append(f"{name} {value:.17g}")
        return "\n".join([*lines, ""])
