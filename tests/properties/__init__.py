"""Equalities that hold for every input, tried with hypothesis."""
