"""Real parts in virtual time: a loop whose time stands still while anything real goes on, and its network."""

from tests.virtual.clock import VirtualClock
from tests.virtual.loop import VirtualLoop
from tests.virtual.network import Network

__all__ = ["Network", "VirtualClock", "VirtualLoop"]
