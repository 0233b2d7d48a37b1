"""A data plane whose sources count what they were fed and what they were told to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from natscore import cells
from natscore.dataplane import PureDataPlane
from natscore.sublist import SubjectTable

if TYPE_CHECKING:
    from natscore import plane
    from natscore.events import ConnectionId

__all__ = ["BorrowingPlane", "BorrowingSource"]


class BorrowingSource(cells.Source):
    """`borrowed` is how often it was fed and not told, since then, to keep what is left; `lent` was last."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.borrowed = self.kept = 0
        self.lent: bytes | memoryview = b""

    def feed(self, data: bytes | memoryview) -> None:
        self.borrowed += 1
        self.lent = data
        super().feed(data)

    def keep(self) -> None:
        self.borrowed -= 1
        self.kept += 1
        super().keep()


class BorrowingPlane(PureDataPlane):
    """The pure plane with such sources."""

    def source(
        self,
        cid: ConnectionId,
        outbox: plane.Outbox,
        table: plane.SubjectTable,
        max_control_line: int,
        max_payload: int,
    ) -> BorrowingSource:
        assert isinstance(outbox, cells.Outbox)
        assert isinstance(table, SubjectTable)
        return BorrowingSource(cid, outbox, table, max_control_line, max_payload)
