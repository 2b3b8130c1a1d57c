"""Hiding: takes what is secret in a URI, and in the options of a driver, out of what is shown.

Owns what is secret, and in which spellings a driver may show it: in a URL, a header, JSON, the `repr` of a call. It
does not own which texts are shown (`translation`). Called by `uri`, for each storage that a driver reaches.
"""

import html
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

__all__ = ["URI", "hider"]

URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/]*)@)?(?P<rest>[^?]*)(?P<query>\?.*)?", re.DOTALL
)

_ACCOUNTS = frozenset({"abfs", "abfss", "az"})
"""Schemes with a container, rather than a secret, in front of the `@`."""

_SECRET = re.compile(r"secret|pass|pwd|token|key|cred|connection_string|sas|auth|sig|cookie|jwt", re.IGNORECASE)

_TOO_SHORT = 3
"""What has so few characters is no secret: it would be found in any text."""

_MIN_BASE64 = 8
"""Fewer characters of base64 would be found by chance."""

_ESCAPE_DEPTH = 4
"""How often a text may be escaped: as JSON, in a URL, which a URL holds, in a `repr`."""

_ESCAPE = re.compile(
    rb"(?:%|\\x)(?P<byte>[0-9A-Fa-f]{2})"
    rb"|\\u(?P<short>[0-9A-Fa-f]{4})|\\U(?P<long>[0-9A-Fa-f]{8})"
    rb"|\\(?P<char>.)"
    rb"|&(?P<entity>#?[0-9A-Za-z]{2,8});",
    re.DOTALL,
)

_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}

Span: TypeAlias = tuple[int, int]
"""Where something begins and ends in a text."""


def hider(uri: re.Match[str], options: Mapping[str, Any]) -> Callable[[str], str]:
    """Make what takes the secrets of a URI, and of a driver's options, out of a text.

    :arg uri: As `URI` matches it.

    :arg options: What the driver is given.

    :returns: Function; each secret becomes `***`, however it is spelled.

    """
    found = {text.strip() for text in (*_secrets_of_uri(uri), *_secrets_of_options(options))}
    secrets = sorted((text for text in found if len(text) > _TOO_SHORT), key=len, reverse=True)
    spellings = {_unescaped(one, [(0, 0)] * len(one))[0] for text in secrets for one in _spellings(text)}

    def hide(text: str) -> str:
        data, spans = _unescaped(_utf8(text), [(at, at + 1) for at, char in enumerate(text) for _ in _utf8(char)])
        text = _without(
            text,
            (span for spelling in spellings if len(spelling) > _TOO_SHORT for span in _find(spelling, data, spans)),
        )
        # Together with the characters around it, a secret may look like an escape, so that it was not found above.
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return hide


def _secrets_of_uri(uri: re.Match[str]) -> Iterator[str]:
    if uri["user"] and uri["scheme"].lower() not in _ACCOUNTS:
        yield from _secrets_of_user(uri["user"])
    if uri["query"]:
        yield uri["query"]
        yield from (value for _, value in parse_qsl(uri["query"][1:]))


def _secrets_of_user(user: str) -> list[str]:
    """Name what is secret in the `user:password` of a URL, as it is written there and as it is meant."""
    passwords = user.split(":")[1:]
    return [f"{user}@", *passwords, *map(unquote, passwords)]


def _secrets_of_options(value: Any, named: bool = False) -> Iterator[str]:
    """Find what is secret in a driver's options: below a name that says so, and in front of the host of a URL."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets_of_options(inner, named or _SECRET.search(str(name)) is not None)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _secrets_of_options(inner, named)
    elif named and value is not None:
        yield from _parts_of_secret(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
    elif isinstance(value, str):
        url = URI.fullmatch(value)
        yield from _secrets_of_user(url["user"]) if url and url["user"] else ()


def _parts_of_secret(text: str) -> Iterator[str]:
    """Name a secret, and what may be shown of it alone: of `Bearer …`, `AccountName=…;AccountKey=…`, `sv=…&sig=…`."""
    yield text
    yield text.partition(" ")[2]
    for name, value in re.findall(r"([^=;&?\s]+)=([^;&\s]+)", text):
        if _SECRET.search(name):
            yield from (value, unquote(value))


def _unescaped(data: bytes, spans: list[Span]) -> tuple[bytes, list[Span]]:
    """Take the escapes out of a text, layer by layer: what is in a URL may have been JSON before.

    :arg data: The text, in UTF-8.

    :arg spans: Of each byte, where it is in the text.

    :returns: The same of the text that is meant. A plus in a URL is a space.

    """
    for _ in range(_ESCAPE_DEPTH):
        data, spans = _unescaped_once(data, spans)
    return data.replace(b"+", b" "), spans


def _unescaped_once(data: bytes, spans: list[Span]) -> tuple[bytes, list[Span]]:
    bare, where, last = bytearray(), list[Span](), 0
    for found in _ESCAPE.finditer(data):
        start, end = found.span()
        meant = _unescape(found)
        bare += data[last:start] + meant
        where += spans[last:start] + [(spans[start][0], spans[end - 1][1])] * len(meant)
        last = end
    return bytes(bare) + data[last:], where + spans[last:]


def _unescape(escape: re.Match[bytes]) -> bytes:
    """Tell the bytes that an escape stands for."""
    if escape["byte"]:
        return bytes.fromhex(escape["byte"].decode())
    number = escape["short"] or escape["long"]
    if number:
        return _utf8(chr(min(int(number, 16), sys.maxunicode)))
    if escape["entity"]:
        return _utf8(html.unescape(escape.group().decode()))
    return _CONTROLS.get(escape["char"], escape["char"])


def _find(spelling: bytes, data: bytes, spans: Sequence[Span]) -> Iterator[Span]:
    """Find some bytes of a text: where they begin and end in it."""
    start = data.find(spelling)
    while start >= 0:
        yield spans[start][0], spans[start + len(spelling) - 1][1]
        start = data.find(spelling, start + 1)


def _without(text: str, spans: Iterable[Span]) -> str:
    """Put stars in the place of parts of a text, which may overlap."""
    parts, last = [], 0
    for start, end in sorted(spans):
        parts += [text[last:start], "***"] if start >= last else []
        last = max(last, end)
    return "".join((*parts, text[last:]))


def _utf8(char: str) -> bytes:
    return char.encode(errors="surrogatepass")


def _spellings(secret: str) -> Iterator[bytes]:
    """Name the bytes that a secret is found as: in UTF-8, in a `repr`, in JSON, or in base64."""
    plain = _utf8(secret)
    halves = plain.decode(errors="surrogatepass").encode("utf-16-be", "surrogatepass")
    yield plain
    yield b"".join(bytes([ord(char)]) if ord(char) < 256 else _utf8(char) for char in secret)
    yield b"".join(_utf8(chr(int.from_bytes(halves[at : at + 2], "big"))) for at in range(0, len(halves), 2))
    yield from _base64(plain)


def _base64(data: bytes) -> Iterator[bytes]:
    """Spell bytes in base64, as far as that does not depend on what is around them, as in `user:password`."""
    for before, changed in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(before) + data
        behind = (0, 3, 2)[len(padded) % 3]
        for encode in (b64encode, urlsafe_b64encode):
            text = encode(padded)
            core = text[changed : len(text) - behind]
            if len(core) >= _MIN_BASE64:
                yield core
