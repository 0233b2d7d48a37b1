"""Benchmarks across the packages; run from the root of the repository as `python -m benchmarks.run`."""
