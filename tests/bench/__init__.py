"""Tests of the benchmark harness: it must not count a run in which something went wrong."""
