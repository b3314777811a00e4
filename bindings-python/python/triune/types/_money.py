"""Dollars for display."""

from __future__ import annotations

from .._json import NANO_USD


class Priced:
    """Something that was paid for, or was free."""

    __slots__ = ()
    cost_nano_usd: int
    """What it cost, exactly, in billionths of a dollar."""

    @property
    def cost_usd(self) -> float:
        """What it cost in dollars, for display: compute with `cost_nano_usd`."""
        return self.cost_nano_usd / NANO_USD


class Costed(Priced):
    """The same, compared with what it would have cost on the reference model."""

    __slots__ = ()
    saved_nano_usd: int
    """What it would have cost more on the reference model; negative when that would have been cheaper."""

    @property
    def saved_usd(self) -> float:
        """What it saved in dollars, for display: compute with `saved_nano_usd`."""
        return self.saved_nano_usd / NANO_USD
