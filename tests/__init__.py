"""Tests across the packages; importable as `tests` from the root of the repository."""
