"""A name that stands twice in one object is found, wherever and however it is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.json_names import repeated_name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"x":[{"b":{"a":1,"c":2,"a":3}}]}', "a"),
        (b'{"a" :1,"b":1,"b":2}', "b"),
        (b'{"a"\n: 1, "b":1, "b":2}', "b"),
        (b'{"\\u0061":1,"a":2}', "a"),
        (b'{"a":"\\u0022:","b":1,"b":2}', "b"),
        (b'{"a":"x\\"\\u003a","b":1,"b":2}', "b"),
        ('{"追溯码":1,"追溯码":2}'.encode(), "追溯码"),
        (b'{"a":{"a":1},"b":{"a":1}}', None),
        (b'{"a":"\\u0022:\\u003a"}', None),
        (b'{"a":"\\":\\"","b":"x :"}', None),
        (b'{"a":1', None),
        (b"\xff", None),
        (b"[" * 5_000 + b"]" * 5_000, None),
        (b"", None),
    ],
)
def test_given_a_body_when_looked_through_then_the_repeated_name(
    body: bytes, name: str | None
) -> None:
    assert repeated_name(body) == name


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_given_any_value_when_written_once_then_no_name_is_repeated(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert repeated_name(body) is None
    assert repeated_name(b'{"n":1,"n":' + body + b"}") == "n"
