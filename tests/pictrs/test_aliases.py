"""From an address in a browser to the name of a picture."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.aliases import NotAnAlias, alias_in

ALIAS = "1c34971d-dfea-45e7-9467-440936dcf235.jpeg"

URLS = [
    "https://lemmy.example.com/pictrs/image/{}",
    "https://lemmy.example.com/pictrs/image/{}?format=webp&thumbnail=256",
    "https://lemmy.example.com/api/v4/image/{}?file_type=webp&max_size=512",
    "http://127.0.0.1:8080/image/original/{}",
    "http://127.0.0.1:8080/image/original?alias={}",
    "http://127.0.0.1:8080/image/process.webp?src={}&thumbnail=256",
    "http://127.0.0.1:8080/image/details/original/{}",
]


@pytest.mark.parametrize("url", URLS)
@given(alias=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_form_of_address_names_the_alias(url, alias):
    if alias not in {".", "..", "proxy"}:
        assert alias_in(url.format(quote(alias, safe=""))) == alias


def test_an_alias_is_itself():
    assert alias_in(ALIAS) == ALIAS


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://lemmy.example.com/api/v3/image_proxy?url=https%3A%2F%2Fx.example%2Fa.png", "of another server"),
        ("https://lemmy.example.com/api/v4/image/proxy?url=https%3A%2F%2Fx.example%2Fa.png", "of another server"),
        ("http://127.0.0.1:8080/image/original?proxy=https%3A%2F%2Fx.example%2Fa.png", "of another server"),
        ("https://lemmy.example.com/post/123", "does not look like"),
        ("https://lemmy.example.com/pictrs/image/", "does not look like"),
        ("https://[broken/pictrs/image/a.png", "is not a URL"),
    ],
)
def test_addresses_of_other_things_are_refused_with_the_reason(url, why):
    with pytest.raises(NotAnAlias, match=why):
        alias_in(url)
