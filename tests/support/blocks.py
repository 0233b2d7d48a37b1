"""Which memory is behind a block of an outbox."""

from __future__ import annotations

__all__ = ["memory_of"]


def memory_of(block: bytes | memoryview) -> int:
    """A number for it: of the bytes, or of the block of the compiled plane, which many views may be of."""
    owner = memoryview(block).obj
    number: int = getattr(owner, "block", id(owner))
    return number
