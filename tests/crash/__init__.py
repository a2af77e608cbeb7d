"""The real collector, ledger, lanes and store against a model of Graph and of the intake, killed anywhere."""
