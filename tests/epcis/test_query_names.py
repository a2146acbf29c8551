"""A name stands for one query until it is removed."""

from __future__ import annotations

import pytest

from domain.epcis import named
from domain.epcis.events import QueryDefined, QueryRemoved
from domain.shared.errors import Conflict, Invalid, NotFound
from tests.spec import Spec

TEXT = '{"EQ_bizStep": ["shipping"]}'
SPEC = Spec(named.evolve, None)
DEFINED = QueryDefined(name="shipped", query=TEXT, extensions="")


def test_given_nothing_when_defined_then_the_name_stands_for_the_query() -> None:
    SPEC.when(named.define, name="shipped", text=TEXT, extensions="").then(DEFINED)


def test_given_a_query_when_its_name_is_given_again_then_conflict_until_removed() -> None:
    known = SPEC.given(DEFINED)
    again = {"name": "shipped", "text": TEXT, "extensions": ""}
    known.when(named.define, **again).refused(Conflict, "query_exists")
    known.when(named.remove, name="shipped").then(QueryRemoved(name="shipped"))
    known.given(QueryRemoved(name="shipped")).when(named.define, **again).then(DEFINED)


def test_given_nothing_when_removed_then_not_found() -> None:
    SPEC.when(named.remove, name="shipped").refused(NotFound, "unknown_query")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "中", ".", ".."])
def test_given_a_name_that_no_path_takes_when_defined_then_refused(name: str) -> None:
    SPEC.when(named.define, name=name, text=TEXT, extensions="").refused(Invalid, "bad_query_name")
