"""Encoded values as they are found: of any version, of another one, damaged, or of a class that is gone."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from bytewax.operators.windowing import _EventClockState
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.codecs import codec, decode
from bytewax_state.errors import BytewaxStateError, ConfigError, IncompatibleError, SnapshotCorruptError
from tests import values
from tests.values import VALUES, Colour, Failing, NamedPair, Plain, Point, exact

CODECS = ("msgpack", "pickle")


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ("010181a36b657995c0c3ffcb4004000000000000c40162", {"key": [None, True, -1, 2.5, b"b"]}),
        ("010194c700e00192c700df0292c700de03", (1, {2}, frozenset({3}))),
        ("010192c709fe010000000000000000c709feff0000000000000000", [1 << 64, -(1 << 64)]),
        ("010192c705fd2d312e3530d8fc00000000000000000000000000000005", [Decimal("-1.50"), UUID(int=5)]),
        ("010192d6fb07e8021dc70cfaffffffff0000000200000003", [date(2024, 2, 29), timedelta(-1, 2, 3)]),
        ("0101c70ced0000000000000e1000000000", timezone(timedelta(hours=1))),
        ("0101c70bf007e8021d01020300000004", datetime(2024, 2, 29, 1, 2, 3, 4)),
        ("0101c70bef07e8021d01020300000004", datetime(2024, 2, 29, 1, 2, 3, 4, timezone.utc)),
        ("010192c700dcc707ee01000000000000", time(1, fold=1)),
        (
            "010193c700dd92c700dcc70bf007e80a1b021e0000000000c70dec4575726f70652f4265726c696e",
            datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        ),
        (
            "010194c700dbd954627974657761782e6f70657261746f72732e77696e646f77696e673a5f4576656e74436c6f636b537461"
            "74653a73797374656d5f74696d655f6f665f6d61785f6576656e742c77617465726d61726b5f626173650102",
            _EventClockState(1, 2),  # type: ignore[arg-type]
        ),
        (
            "010191c739f98005952e000000000000008c086275696c74696e73948c07636f6d706c6578949394473ff000000000000047400000"
            "0000000000869452942e",
            [1 + 2j],
        ),
        ("020180059509000000000000004b018c01619486942e", (1, "a")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bytes_of_version_1_stay_readable(stored: str, value: Any) -> None:
    """Rows of older snapshots are read for ever: add to these, never change them."""
    assert exact(decode(bytes.fromhex(stored))) == exact(value)


def test_an_unknown_codec_name_is_the_settings_error() -> None:
    """The variable is named."""
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_CODEC"):
        codec("json")


@pytest.mark.parametrize("data", [b"\x00\x01\xc0", b"\x03\x01\xc0", b"\xff\xff", b"\x01\x02\xc0", b"\x02\x02N."])
def test_an_unknown_tag_or_newer_version_is_incompatible(data: bytes) -> None:
    """Bytes of a newer version are not guessed at."""
    with pytest.raises(IncompatibleError, match=r"expected .*version of this package"):
        decode(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02", b"\x01\x01", b"\x02\x01", b"\x01\x01\xc0\xc0", b"\x01\x01\xc1"]
)
def test_cut_or_extended_bytes_are_corrupt(data: bytes) -> None:
    """Nothing is read as something else."""
    with pytest.raises(SnapshotCorruptError):
        decode(data)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_no_error_but_ours(data: bytes) -> None:
    """Whatever is in a row, the handler knows the error."""
    try:
        decode(b"\x01\x01" + data)
        decode(data)
    except BytewaxStateError:
        pass


@given(VALUES, st.sampled_from(CODECS), st.data())
def test_cut_values_raise_no_error_but_ours(value: Any, name: str, data: st.DataObject) -> None:
    """A cut row is told."""
    encoded = codec(name).encode(value)
    with pytest.raises(BytewaxStateError):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@pytest.mark.parametrize("name", CODECS)
def test_a_class_that_fails_while_unpickled_is_corrupt(name: str) -> None:
    """Its own error is the cause."""
    with pytest.raises(SnapshotCorruptError, match="no number") as caught:
        decode(codec(name).encode([Failing()]))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "value", [Point(1), Plain(1), NamedPair(1, 2), Colour.RED], ids=lambda value: type(value).__name__
)
def test_a_class_that_is_gone_is_named(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow was changed under its state."""
    data = codec(name).encode({"key": value})
    monkeypatch.delattr(values, type(value).__name__)
    with pytest.raises(IncompatibleError, match=type(value).__name__):
        decode(data)


@pytest.mark.parametrize("name", CODECS)
def test_a_module_that_is_gone_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow's package was renamed."""
    data = codec(name).encode((Point(1),))
    renamed = data.replace(Point.__module__.encode(), b"z" * len(Point.__module__))
    with pytest.raises(IncompatibleError, match=f"zzz.*{Point.__qualname__}"):
        decode(renamed)
