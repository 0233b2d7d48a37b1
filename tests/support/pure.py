"""Looking into the pure data plane: its cells, for tests of what they keep.

A test that calls these carries `@pytest.mark.pure_plane`, and so runs on that plane alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscore import cells, sublist

if TYPE_CHECKING:
    from natscore import plane

__all__ = ["pure_source", "pure_sublist", "pure_subscription"]


def pure_source(source: plane.Source) -> cells.Source:
    """The same source, as the pure plane has it."""
    assert isinstance(source, cells.Source)
    return source


def pure_subscription(subscription: plane.Subscription) -> cells.Subscription:
    """The same subscription, as the pure plane has it."""
    assert isinstance(subscription, cells.Subscription)
    return subscription


def pure_sublist(sublist_: plane.Sublist) -> sublist.Sublist:
    """The same sublist, as the pure plane has it."""
    assert isinstance(sublist_, sublist.Sublist)
    return sublist_
