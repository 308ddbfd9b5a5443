"""The grid of time that demand is counted on."""

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Periods:
    """The grid of time, counted back from the plan's today.

    days: length of a period, 7 or 1.
    count: periods of history before today.
    """

    today: date
    days: int
    count: int

    @property
    def year(self) -> int:
        """Periods after which the season repeats: 52 weeks."""
        return 364 // self.days

    @property
    def season(self) -> int:
        """What a seasonal naive forecast repeats: a year of weeks, or a week of days."""
        return 52 if self.days == 7 else 7

    @property
    def windows(self) -> tuple[int, ...]:
        """Lengths of the rolling means, in periods; the third is the level."""
        return (1, 4, 8, 13, 26) if self.days == 7 else (1, 7, 28, 56, 182)

    @property
    def level(self) -> int:
        """Periods of the mean that a forecast is relative to, and of the baseline."""
        return self.windows[2]

    def start(self, period: int) -> date:
        """Returns the first day of a period; period `count` begins today."""
        return self.today - timedelta(days=(self.count - period) * self.days)
