"""What is secret is hidden, however whoever prints it spells it, and nothing else is."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from bytewax_state.storage.hiding import URI, hider

SECRETS = [
    "wJalr/XUtnFEMI+K7MDENG=bPxRfi",
    'with spaces & "quotes"',
    "50%20of it\\n",
    "-----BEGIN KEY-----\nabc/+\n-----END KEY-----\n",
    "schl\xfcssel \u20ac \U0001f511",
    "<'tag'>",
]

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "url": quote,
    "url, all of it": lambda text: quote(text, safe=""),
    "url, lower case": lambda text: "".join(
        one.lower() if len(one) > 1 else one for one in (quote(char, safe="") for char in text)
    ),
    "form": quote_plus,
    "url in a url": lambda text: quote(quote(text, safe=""), safe=""),
    "every character": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "json": json.dumps,
    "json in utf-8": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "json in a url": lambda text: quote_plus(json.dumps(text)),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "html": html.escape,
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 for urls": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "basic auth": lambda text: b64encode(f"user:{text}".encode()).decode(),
    "basic auth of another": lambda text: b64encode(f"us:{text} ".encode()).decode(),
    "basic auth in a url": lambda text: quote(b64encode(f"a:{text}".encode()).decode(), safe=""),
}


def hide(uri: str = "s3://bucket/path", **options: Any) -> Callable[[str], str]:
    found = URI.fullmatch(uri)
    assert found is not None
    return hider(found, options)


def pieces(text: str) -> list[str]:
    """Cut a text into what would tell a part of it."""
    return [text[at : at + 8] for at in range(0, max(1, len(text) - 8), 4)]


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("secret", SECRETS, ids=range(len(SECRETS)))
def test_a_secret_is_hidden_however_it_is_spelled(spell: Callable[[str], str], secret: str) -> None:
    """Within what else is said, of which all is shown."""
    spelled = spell(secret.strip())
    shown = hide(secret=secret)(f"403 for https://host/?key={spelled}&more and {spelled}: denied")
    assert [piece for piece in pieces(spelled) if piece in shown] == []
    assert shown.startswith("403 for https://host/?key=")
    assert shown.endswith(": denied")
    assert "&more and " in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"connection_string": "AccountName=me;AccountKey=abcd1234==;EndpointSuffix=x"}, "key abcd1234== is wrong"),
        ({"sas_token": "sv=2020&sig=ab%2Fcd%3D"}, "signature ab/cd= is wrong"),
        ({"headers": {"Authorization": "Bearer abcd1234"}}, "token abcd1234 is wrong"),
        ({"password": b"abcd1234"}, "password abcd1234 is wrong"),
        ({"pwd": "abcd1234"}, "password abcd1234 is wrong"),
        ({"client_kwargs": [{"secret": "abcd1234"}]}, "secret abcd1234 is wrong"),
    ],
)
def test_what_is_secret_in_an_option_is_hidden_alone(options: dict[str, Any], said: str) -> None:
    """Drivers take options apart."""
    first, *_, last = said.split()
    assert hide(**options)(said) == f"{first} *** is {last}"


@pytest.mark.parametrize("said", ["signature abcd1234", "?sig=abcd1234", "sv=1&sig=abcd1234&x", "/sig%3Dabcd1234"])
def test_what_is_secret_in_a_uri_is_hidden_alone(said: str) -> None:
    """A query, and each value in it."""
    assert "abcd1234" not in hide("http://host/path?sv=1&sig=abcd1234")(said)


def test_what_is_no_secret_is_shown() -> None:
    """Names, places, and what is too short to be one."""
    text = "cannot read s3://bucket/50%25/a+b: \\u00e9 &amp; eu-west-1, key id, dXNlcjphYmM="
    assert hide(region="eu-west-1", endpoint_url="http://host:1", token="abc")(text) == text


def test_it_takes_no_long_time() -> None:
    """A traceback may be long, and a key too; what looks like an escape may be anything."""
    hidden = hide(token={"private_key": "x" * 2000})
    for text in ("\\" * 50_000, "%25" * 50_000, "x" * 50_000, "&#x41;" * 20_000):
        assert len(hidden(text)) <= len(text)
