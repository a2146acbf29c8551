"""What a measurement is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`messages`, `rate`, `stored`: 0 = the work's own. `rounds`: how often something is killed."""

    broker: str = "mosquitto"
    sync: str = "interval"
    messages: int = 0
    runs: int = 3
    node_red: Path | None = None
    rate: float = 0.0
    rounds: int = 20
    tries: int = 600
    seconds: float = 600.0
    stored: int = 0

    @property
    def setting(self) -> dict[str, str]:
        """What was measured on; mosquitto keeps nothing on disk."""
        on_disk = {"sync": self.sync} if self.broker == "embedded" else {}
        return {"broker": self.broker, **on_disk}
