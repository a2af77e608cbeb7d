"""The least that a connector of the SDK can be: it pushes one event and waits to be stopped."""

from sekoia_automation.connector import Connector, DefaultConnectorConfiguration
from sekoia_automation.module import Module


class EmptyConnector(Connector):
    """Pushes one event."""

    configuration: DefaultConnectorConfiguration

    def run(self) -> None:
        """Push, and wait."""
        self.push_events_to_intakes(['{"empty": true}'])
        self._stop_event.wait()


if __name__ == "__main__":
    module = Module()
    module.register(EmptyConnector, "empty")
    module.run()
