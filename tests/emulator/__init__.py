"""An emulator of Microsoft's side (login, Graph) and of Sekoia's side (platform, intake), all on loopback."""

from tests.emulator.emulator import Emulator
from tests.emulator.faults import Fault, FaultBox
from tests.emulator.graph import Graph, GraphRequest
from tests.emulator.intake import Intake, PushedEvent
from tests.emulator.tenant import STREAMS, Tenant

__all__ = [
    "STREAMS",
    "Emulator",
    "Fault",
    "FaultBox",
    "Graph",
    "GraphRequest",
    "Intake",
    "PushedEvent",
    "Tenant",
]
