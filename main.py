"""Wiring only: which command of the platform runs which class.

The catalogue's checker reads this file's syntax tree, so the variable is called ``module`` and each call is literal.
"""

from graph_entra.sekoia.account_check import GraphEntraAccountValidator
from graph_entra.sekoia.connectors import EntraAuditsConnector, EntraSignInsConnector
from graph_entra.sekoia.module import GraphEntraModule

if __name__ == "__main__":
    module = GraphEntraModule()
    module.register(EntraSignInsConnector, "graph_entra_signins")
    module.register(EntraAuditsConnector, "graph_entra_audits")
    module.register_account_validator(GraphEntraAccountValidator)
    module.run()
