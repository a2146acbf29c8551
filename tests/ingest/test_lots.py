"""Regions dealt to workers: every region in one lot, always the same one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.lots import Lot, deal

REGIONS = st.lists(st.integers(640_100, 640_199).map(str), min_size=1, max_size=20)


@given(regions=REGIONS, workers=st.integers(1, 8))
def test_given_any_regions_when_dealt_then_each_has_one_worker(
    regions: list[str], workers: int
) -> None:
    lots = deal(regions, min(workers, len(set(regions))))
    assert sorted(region for lot in lots for region in lot.regions) == sorted(set(regions))
    assert all(lot.regions for lot in lots)
    assert deal([*reversed(regions), *regions], len(lots)) == lots


def test_given_no_regions_when_dealt_then_one_worker_has_all() -> None:
    (lot,) = deal((), 1)
    assert lot == Lot()
