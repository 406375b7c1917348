"""The number of the update decides whether there is a second pass, and how strong the KL is."""

from typing import NamedTuple


class Schedule(NamedTuple):
    """When R-Drop is on, and how strongly; by default always, with the full weight.

    ``start`` and ``ramp``: late start, as in Gao et al., "An Empirical Study of Consistency
    Regularization for End-to-End Speech-to-Text Translation". ``every``: the k-step of Liang et al.
    2021, section 4.
    """

    alpha: float
    """Full weight of the KL."""
    start: int = 0
    """The first update with a second pass."""
    ramp: int = 0
    """Updates from there in which alpha rises linearly to its full weight."""
    every: int = 1
    """Updates from one second pass to the next."""

    def needs_update(self) -> bool:
        """Whether the number of the update matters."""
        return self.start > 0 or self.ramp > 0 or self.every > 1

    def alpha_at(self, update: int) -> float:
        """The weight of the KL in an update, counted from 0; 0 where there is one plain pass."""
        since_start = update - self.start
        if since_start < 0 or since_start % self.every:
            return 0.0
        return self.alpha * min(1.0, (since_start + 1) / self.ramp) if self.ramp else self.alpha
