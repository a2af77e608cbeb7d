"""The one benchmark that every test run repeats, as a ratio within the run: seconds would depend on the machine."""

from tests.benchmarks import page_cost


def test_a_page_costs_a_hundredth_of_typed_models() -> None:
    """Parse, ledger and encoding take at most a hundredth of what msgraph-sdk's models and writer take."""
    assert page_cost.run(quick=True).values["ratio"] >= 100
