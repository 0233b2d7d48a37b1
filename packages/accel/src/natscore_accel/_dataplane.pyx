# cython: language_level=3
"""The compiled data plane."""

from natscore.dataplane import PureDataPlane

cdef int _compiled = 1


class CompiledDataPlane(PureDataPlane):
    """Agrees with PureDataPlane on every byte, counter and reason."""
