"""How long a run may take, and how the rate falls towards the end of that time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """``minutes`` from the first update of this sitting, without end where None; over the last ``cooldown`` of them the
    rate falls linearly to 0 (Hu et al. 2024, "MiniCPM", warm-up, stable, decay), whatever the schedule of updates says.

    For whoever has a machine for so long: how many updates that will be need not be known. Raises ValueError for a
    cooldown longer than the minutes, or without any.
    """

    minutes: float | None = None
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cooldown <= (self.minutes or 0) and self.cooldown:
            raise ValueError("a cooldown is a part of the minutes")

    def over(self, seconds: float) -> bool:
        """Whether the time is up, ``seconds`` after the start."""
        return self.minutes is not None and seconds > self.minutes * 60

    def pace(self, seconds: float) -> float:
        """The factor of the rate, in [0, 1], ``seconds`` after the start."""
        if self.minutes is None or not self.cooldown:
            return 1.0
        return min(1.0, max(0.0, (self.minutes - seconds / 60) / self.cooldown))


ENDLESS = Clock()
