"""Slow, obvious twins of the hot code, which share nothing with it but the specification."""
