"""A payment system: pays what is due and gives back what is asked for, as such systems do.

It forgets a charge for a while, tells some things twice, and gives a charge the same number however
often it is asked: what it told before a crash it tells again.
"""

from __future__ import annotations

import random

from simulators.http import Api, Json

FORGETS, REPEATS = 0.3, 0.3
PATH = "/vaccination/charges"


class Payments:
    """One payment system with its own chance."""

    def __init__(self, api: Api, rng: random.Random) -> None:
        self._api = api
        self._rng = rng

    def settle(self) -> int:
        """Pay and refund what it does not forget this time; return how many charges are left."""
        left = 0
        for state, act in (("due", "payment"), ("refund_asked", "refund")):
            for charge in list(self._api.pages(PATH, state=state)):
                if self._rng.random() < FORGETS:
                    left += 1
                    continue
                self._tell(charge, act)
                if self._rng.random() < REPEATS:
                    self._tell(charge, act)
        return left

    def _tell(self, charge: Json, act: str) -> None:
        reference = f"{act}-{charge['charge_id']}"
        body = {"amount_fen": charge["amount_fen"], "reference": reference}
        self._api.post(f"{PATH}/{charge['charge_id']}/{act}", body, wait_s=5)
