"""Graph's limit for the log endpoints, read strictly."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable


class SlidingWindow:
    """At most so many requests in ANY so many seconds (throttling-entra-logs-reports.md: 5 in 10 s per app per tenant).

    Every request counts, refused ones too: "Microsoft Graph continues to log resource usage while a client is being
    throttled" (learn.microsoft.com/graph/throttling).
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrivals: dict[Hashable, deque[float]] = defaultdict(deque)

    def wait_s(self, client: Hashable, limit: tuple[int, float] | None) -> float:
        """Counts a request; returns 0 if it may pass, or else the seconds until the next one may."""
        now = self._clock()
        arrivals = self._arrivals[client]
        arrivals.append(now)
        if limit is None:
            arrivals.clear()
            return 0.0
        count, window_s = limit
        while arrivals and arrivals[0] <= now - window_s:
            arrivals.popleft()
        if len(arrivals) <= count:
            return 0.0
        return max(0.001, arrivals[-count] + window_s - now)
