"""Who may connect: room in all, room for one host, room that the system has; and a log that no flood can fill."""

from __future__ import annotations

import logging
import resource
import time
from collections import Counter

from address_space.opcua.settings import ServerLimits

_log = logging.getLogger(__name__)
_OTHER_DESCRIPTORS = 128
"""File descriptors left to everything else in the process."""
_LINES_A_SECOND = 10


class Admission:
    """Counts connections by host.

    Attributes:
        room: connections in all; fewer than the limit where the system grants fewer file descriptors.
        hosts: open connections of each host.
        suppressed: notices that were not written because there were too many.
    """

    def __init__(self, limits: ServerLimits) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        granted = limits.max_connections
        if descriptors != resource.RLIM_INFINITY:
            granted = max(min(granted, descriptors - _OTHER_DESCRIPTORS), 1)
        if granted < limits.max_connections:
            _log.warning("room for %d connections only: the system grants %d descriptors", granted, descriptors)
        self.room = granted
        self.room_per_host = min(limits.max_connections_per_host, granted)
        self.hosts: Counter[str] = Counter()
        self.suppressed = 0
        self._second = 0.0
        self._lines = 0

    def refusal(self, host: str) -> str:
        """Why one more connection of a host is refused; empty when it is taken, which counts it."""
        if self.hosts.total() >= self.room:
            return f"{self.room} are open"
        if self.hosts[host] >= self.room_per_host:
            return f"{self.room_per_host} of this host are open"
        self.hosts[host] += 1
        return ""

    def left(self, host: str) -> None:
        """A connection that was taken is gone."""
        self.hosts[host] -= 1
        if self.hosts[host] <= 0:
            del self.hosts[host]

    def notice(self, text: str, *arguments: object) -> None:
        """Log a warning about a peer; of a flood of them only the first ten a second, and how many more there were."""
        now = time.monotonic()
        if now - self._second >= 1.0:
            if self._lines > _LINES_A_SECOND:
                _log.warning("%d more notices like these", self._lines - _LINES_A_SECOND)
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines <= _LINES_A_SECOND:
            _log.warning(text, *arguments)
        else:
            self.suppressed += 1
