"""What it costs: `python -m tests.benchmarks [name ...] [--quick]` measures it and writes RESULTS.md."""
