"""What can go wrong here. A root of its own, so that the package stands without a server."""

from __future__ import annotations

__all__ = ["KeyFormatError", "SealBroken", "SecurityError", "UsersError"]


class SecurityError(Exception):
    """The root of everything this package raises on purpose. No text holds a secret."""


class KeyFormatError(SecurityError):
    """A key is malformed, or of another kind than is wanted. The texts are those of the nkeys library."""


class SealBroken(SecurityError):
    """What was sealed cannot be opened: damaged, for somebody else, or by somebody else."""


class UsersError(SecurityError):
    """The configured users cannot be: one twice, a key that is none, a user that is not there."""
