"""Every setting: its variable, type, unit, default and meaning.

Owns reading and judging them, so that a wrong value or a misspelt name ends a run before it begins. It does not own
what they do. Called by users, `attach` and `run`.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bytewax_state.errors import ConfigError
from bytewax_state.signing import UNSIGNED, Keys, read_keys

PREFIX = "BYTEWAX_STATE_"

BACKUP_INTERVAL = "BYTEWAX_RECOVERY_BACKUP_INTERVAL"
"""Bytewax's own variable, in seconds: how far back a run may have to resume."""

_SIZES = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
_TIMES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_LOCAL = re.compile(r"((?:file|local)://)?(.*)", re.IGNORECASE | re.DOTALL)
"""Any text: the scheme of a URL of a folder, if it is one, and the rest."""

_PORT = r"PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?"
_OF_SERVICE = re.compile(rf"_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|{_PORT})")
_OF_LINK = re.compile(rf"_(?:NAME|ENV_.+|{_PORT})")
"""What Kubernetes puts behind the name of a Service in the variables that it sets in each pod, and Docker behind that
of a linked container."""


def _setting(default: Any, expected: str, **constraints: Any) -> Any:
    """Declare a setting.

    :arg default: As a user would write it.

    :arg expected: What a value has to be, for the error of one that is not.

    :arg constraints: More of what pydantic's `Field` takes.

    """
    return Field(default, json_schema_extra={"expected": expected}, **constraints)


def _read_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?i?B|)", value.strip())
    if found is None or found[2] not in _SIZES:
        msg = "no size"
        raise ValueError(msg)
    return int(float(found[1]) * _SIZES[found[2]])


def read_duration(text: str) -> timedelta:
    """Read a duration as it is written in settings, and in options of commands.

    :arg text: Such as `90s`, `10m`, `1h` or `2d`.

    :raises ValueError: If it is none.

    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smhd])", text.strip())
    if found is None:
        # A bare number has no unit. Pydantic would take one, and many formats besides.
        msg = f"{text!r} is no duration such as '90s', '10m', '1h' or '2d'"
        raise ValueError(msg)
    return timedelta(**{_TIMES[found[2]]: float(found[1])})


def _read_duration(value: object) -> object:
    return value if isinstance(value, timedelta) else read_duration(str(value))


def _read_optional_duration(value: object) -> object:
    return None if value is None or value == "none" else _read_duration(value)


class PathError(ValueError):
    """A path that cannot be made absolute. What it says is shown to the user."""


def absolute(path: str) -> Path:
    """Make a path absolute now, so that it stays the same when the working directory changes.

    :arg path: May begin with `~`.

    :raises PathError: If there is no such home directory, or no working directory.

    """
    home = path.partition("/")[0]
    try:
        if home == "~" and os.environ.get("HOME") == "":
            msg = "HOME is empty"  # and `~/data` would be /data
            raise PathError(msg)
        return Path(path).expanduser().absolute()
    except RuntimeError:
        msg = f"{home} has no home directory"
        raise PathError(msg) from None
    except OSError as ex:
        msg = f"there is no working directory ({ex.strerror})"
        raise PathError(msg) from None


def _read_uri(value: object) -> object:
    if not isinstance(value, str) or value == "":
        return value
    if value.strip().lower() == "none":
        return None
    scheme, path = _LOCAL.fullmatch(value).groups()  # type: ignore[union-attr]
    if scheme is None and ":" in path.partition("/")[0]:
        return value  # No folder: a URL, or what was meant for one. The storage judges it.
    return (scheme or "") + _read_folder(path)


def _read_dir(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        msg = "that is a URL"
        raise PathError(msg)
    return _read_folder(str(value)) if isinstance(value, (str, Path)) else value


def _read_folder(path: str) -> str:
    if path == "":
        msg = "empty"  # which `Path` would take for the working directory
        raise ValueError(msg)
    return str(absolute(path))


def _read_object(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _read_key(value: object) -> object:
    if value is not None:
        read_keys(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
    return value


def _default_retention() -> timedelta:
    """Keep what Bytewax may resume from, where its variable tells."""
    seconds = os.environ.get(BACKUP_INTERVAL)
    if seconds is None:
        return timedelta(hours=1)
    if not re.fullmatch(r"\d{1,9}", seconds):
        msg = f"{BACKUP_INTERVAL} is {seconds!r}; expected a whole number of seconds, as Bytewax does"
        raise ConfigError(msg)
    return timedelta(seconds=int(seconds))


class Settings(BaseSettings):
    """The settings of a run, or of single steps of it.

    A keyword goes before its variable, and the variable before the default: `Settings(backend="rocksdb")`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    backend: Literal["heap", "rocksdb"] = _setting("heap", "'heap' or 'rocksdb'")
    """Where live state is: in memory, or on the local disk with a bounded cache in front."""

    uri: Annotated[str | None, BeforeValidator(_read_uri)] = _setting(
        ".bytewax-state/snapshots", "a folder or a URL such as file:///data/snapshots, or 'none'", min_length=1
    )
    """Where snapshots go; `None` (in the environment: `none`) takes no snapshots."""

    dir: Annotated[Path, BeforeValidator(_read_dir)] = _setting(".bytewax-state/work", "a folder on the local disk")
    """Local folder for live tables and frozen images; all of it may be lost at any time."""

    key_groups: int = _setting(128, "a whole number from 1 to 4096", ge=1, le=4096)
    """How many buckets keys hash into; what moves between workers. Fixed for the life of the snapshots."""

    memory: Annotated[int, BeforeValidator(_read_bytes)] = _setting(
        "256MiB", "a size of at least 1MiB, such as '256MiB' or '2GB'", ge=1 << 20
    )
    """Bytes of RocksDB's block cache and memtables, together, in the whole process."""

    cache_entries: int = _setting(100_000, "a whole number, 0 or more", ge=0)
    """How many live objects one step on one worker keeps in memory, with the backend `rocksdb`."""

    upload_threads: int = _setting(4, "a whole number, 1 or more", ge=1)
    """How many files a step on a worker uploads, or fetches, at once."""

    retain_snapshots: int = _setting(3, "a whole number, 1 or more", ge=1)
    """How many of the newest versions of a store stay in any case."""

    retain_for: Annotated[timedelta, BeforeValidator(_read_duration)] = Field(
        default_factory=_default_retention,
        ge=timedelta(0),
        le=timedelta(days=999_999),
        json_schema_extra={"expected": "a duration such as '90s', '10m', '1h' or '2d'"},
    )
    """How long a version stays once a newer one is committed; at least Bytewax's backup interval."""

    forget_sessions: Annotated[timedelta | None, BeforeValidator(_read_optional_duration)] = Field(
        None,
        gt=timedelta(0),
        le=timedelta(days=999_999),
        json_schema_extra={"expected": "a duration such as '90s', '10m', '1h' or '2d', or 'none'"},
    )
    """How long a key without open sessions is remembered; `None`: for ever, as Bytewax does."""

    codec: Literal["msgpack", "pickle"] = _setting("msgpack", "'msgpack' or 'pickle'")
    """How values are written; both are read, whatever is set."""

    storage_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_read_object)] = _setting(
        {}, "a JSON object of keyword arguments of the storage's fsspec driver", repr=False
    )
    """What fsspec's driver for the URI is given."""

    signing_key: Annotated[SecretStr | None, BeforeValidator(_read_key)] = _setting(
        None, "a key of at least 16 characters, or 'NEW,OLD', or 'NEW,none'", repr=False
    )
    """Signs snapshots and refs, and what is not signed with it is refused. Further keys, behind commas, are accepted;
    so is, with `none` among these, what is not signed."""

    def __init__(self, **values: Any) -> None:
        """Read and judge the settings.

        :arg values: Those that the environment shall not decide.

        :raises ConfigError: If a value is wrong, or a name unknown, here or in the environment.

        """
        _check_names(os.environ)
        try:
            super().__init__(**values)
        except ValidationError as ex:
            wrong = ex.errors()
        else:
            return
        # Pydantic's error shows the values, and some of them are secrets. As ours is raised after the `except`, it has
        # that one neither as its cause nor as its context.
        raise ConfigError("; ".join(_explain(error, values) for error in wrong))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Settings":
        """Copy the settings, and judge what is changed as `Settings(...)` does, which pydantic would take as it is.

        :arg update: Values that are to be others.

        :arg deep: Whether to copy the values too.

        :raises ConfigError: If a value is wrong, or a name unknown.

        """
        judged = type(self)(**{**dict(self), **(update or {})})
        return super().model_copy(update={name: getattr(judged, name) for name in update or {}}, deep=deep)


def keys_of(settings: Settings) -> Keys:
    """Return the keys that a run signs and accepts."""
    key = settings.signing_key
    return UNSIGNED if key is None else read_keys(key.get_secret_value())


def variables() -> tuple[str, ...]:
    """Name the variables of all settings.

    :returns: Names, in the order of the fields.

    """
    return tuple(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)


def _check_names(environ: Mapping[str, str]) -> None:
    """Refuse a variable that looks like a setting and is none: a typo must not pass for the default."""
    known, others = variables(), _variables_of_services(environ)
    ours = sorted((name for name in environ if name.upper().startswith(PREFIX)), key=str.upper)
    wrong = [
        f"{name} is no setting; {_nearest(name.upper(), known)}"
        for name in ours
        if name.upper() not in known and name not in others
    ]
    wrong += [
        f"{one} and {other} are the same setting, with two values; unset one of them"
        for one, other in pairwise(ours)
        if one.upper() == other.upper() and environ[one] != environ[other]
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))


def _variables_of_services(environ: Mapping[str, str]) -> set[str]:
    """Name the variables that a Service or a linked container with a name like ours brings into the environment.

    A Service always brings `NAME_SERVICE_HOST`, a link `NAME_NAME`, which holds a path, and both of them `NAME_PORT`,
    which holds a URL. Without these a variable is a typo, whatever it looks like.
    """
    ours = [name for name in environ if name.startswith(PREFIX)]
    services = [name.removesuffix("_SERVICE_HOST") for name in ours if name.endswith("_SERVICE_HOST")]
    links = [name.removesuffix("_NAME") for name in ours if name.endswith("_NAME") and environ[name][:1] == "/"]
    both = [name.removesuffix("_PORT") for name in ours if name.endswith("_PORT") and "://" in environ[name]]
    owners = [(owner, _OF_SERVICE) for owner in services + both] + [(owner, _OF_LINK) for owner in links + both]
    return {
        name
        for name in ours
        for owner, pattern in owners
        if name.startswith(owner) and pattern.fullmatch(name, len(owner))
    }


def _explain(error: ErrorDetails, values: Mapping[str, Any]) -> str:
    """Say what is wrong: which setting, what was found, what is expected."""
    name = str(error["loc"][0])
    if name not in Settings.model_fields:
        return f"Settings has no {name!r}; {_nearest(name, tuple(Settings.model_fields))}"
    field = Settings.model_fields[name]
    variable = f"{PREFIX}{name.upper()}"
    given = values[name] if name in values else _from_environment(variable, field.default)
    where = f"Settings({name}=...) ({variable})" if name in values else variable
    found = repr(given) if field.repr else "something else"
    why = error.get("ctx", {}).get("error")
    reason = f", and {why}" if isinstance(why, PathError) else ""
    assert isinstance(field.json_schema_extra, dict)
    return f"{where} is {found}{reason}; expected {field.json_schema_extra['expected']}"


def _from_environment(variable: str, default: Any) -> Any:
    """Look a variable up as pydantic does, in upper or lower case."""
    return next((value for name, value in os.environ.items() if name.upper() == variable), default)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    """Name the known name that was probably meant."""
    near = max(known, key=lambda one: difflib.SequenceMatcher(None, name, one).ratio())
    return f"did you mean {near}?"
