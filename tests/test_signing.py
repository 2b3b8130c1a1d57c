"""Keys: what they sign and accept, how they are written in a setting, and that nothing ever shows them."""

import hashlib
import traceback

import pytest
from pydantic import SecretStr

from bytewax_state.errors import ConfigError
from bytewax_state.settings import Settings, keys_of
from bytewax_state.signing import DIGEST, UNSIGNED, Keys, read_keys

NEW, OLD = "new-key-of-a-job", "old-key-of-a-job"
DATA = b"what do ya want for nothing?"


def test_the_signature_is_hmac_sha256() -> None:
    """The second test case of RFC 4231, so that other programs can check what we sign."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert Keys([b"Jefe"]).digest(DATA).hex() == expected


def test_without_a_key_it_is_sha256() -> None:
    """Damage is found; who wrote it is not."""
    assert UNSIGNED.digest(DATA) == hashlib.sha256(DATA).digest()
    assert (UNSIGNED.sign, UNSIGNED.accepts_unsigned) == (False, True)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (NEW, {NEW}),
        (f"{NEW},{OLD}", {NEW, OLD}),
        (f"{NEW},none", {NEW, None}),
        (f" {NEW} , {OLD},none", {NEW, OLD, None}),
    ],
)
def test_the_first_key_signs_and_all_are_accepted(text: str, accepted: set[str | None]) -> None:
    """And nothing else is."""
    keys = read_keys(text)
    assert keys.sign
    assert keys.accepts_unsigned == (None in accepted)
    assert keys.digest(DATA) == read_keys(NEW).digest(DATA)
    for key in (NEW, OLD, None, "some-other-key-of-16"):
        signer = UNSIGNED if key is None else read_keys(key)
        assert keys.accept(DATA, signer.digest(DATA)) == (key in accepted)


@pytest.mark.parametrize("length", range(DIGEST + 1))
def test_a_short_digest_is_as_good_as_its_length(length: int) -> None:
    """Refs have 8 bytes of it; the beginning of any digest is no digest at all."""
    keys = read_keys(NEW)
    assert keys.accept(DATA, keys.digest(DATA)[:length]) == (length >= 8)


@pytest.mark.parametrize("flipped", [0, 7, DIGEST - 1])
def test_a_wrong_byte_is_found(flipped: int) -> None:
    """Wherever it is, also in one that is longer than a digest."""
    keys = read_keys(NEW)
    digest = bytearray(keys.digest(DATA))
    assert not keys.accept(DATA, bytes(digest) + b"\0")
    digest[flipped] ^= 1
    assert not keys.accept(DATA, bytes(digest))


WRONG = [
    *("", "none", "None,", ",", "hunter2", "hunter2-hunter2", f"none,{NEW}", f"{NEW},", f",{NEW}", f"{NEW},hunter2"),
    *(f"{NEW},NONE", f"{NEW} {OLD},hunter2", f"{NEW},,{OLD}", "hunter2-\udcff-hunter2"),
]


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_key_is_refused_and_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the error, nor by what it came from; `none` alone would be no protection that looks like some."""
    with pytest.raises(ValueError, match=r".") as caught:
        read_keys(text)
    for give in (lambda: Settings(signing_key=text), lambda: Settings(signing_key=SecretStr(text)), Settings):
        if give is Settings:
            if not text.isascii():
                continue
            monkeypatch.setenv("BYTEWAX_STATE_SIGNING_KEY", text)
        with pytest.raises(ConfigError, match=r"BYTEWAX_STATE_SIGNING_KEY.*16 characters.*'NEW,OLD'") as caught:
            give()
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        shown = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in shown
        assert NEW not in shown


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all settings are."""
    assert keys_of(Settings()) is UNSIGNED
    monkeypatch.setenv("BYTEWAX_STATE_SIGNING_KEY", f"{NEW},{OLD}")
    keys = keys_of(Settings())
    assert keys.digest(DATA) == read_keys(NEW).digest(DATA)
    assert keys.accept(DATA, read_keys(OLD).digest(DATA))


def test_keys_are_not_shown() -> None:
    """Whoever logs the settings, or what was made of them, logs no key."""
    settings = Settings(signing_key=f"{NEW},{OLD}")
    keys = keys_of(settings)
    for shown in (
        *(repr(settings), str(settings), f"{settings}", str(settings.model_dump()), settings.model_dump_json()),
        *(str(settings.model_dump(mode="json")), str(list(settings)), str(settings.model_copy(update={"dir": "x"}))),
        *(repr(keys), str(keys), f"{keys}"),
    ):
        assert NEW not in shown
        assert OLD not in shown
