"""The figures of issue D: `python -m tests.benchmarks [name ...] [--quick]` measures them and writes RESULTS.md."""
