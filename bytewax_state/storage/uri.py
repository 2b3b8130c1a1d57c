"""Which storage a URI means.

Owns schemes, drivers, how often a verb is tried, and what is refused before anything is opened. It does not own what a
storage promises (`storage`). Called by `attach`, the command line, and whoever opens a store.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import fsspec
import tenacity

from bytewax_state import open_files
from bytewax_state.errors import ConfigError, StorageError
from bytewax_state.settings import absolute
from bytewax_state.storage.bucket import Bucket, Memory
from bytewax_state.storage.folder import Folder
from bytewax_state.storage.hiding import URI, hider
from bytewax_state.storage.retrying import Retrying
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.translation import shown_cause

ATTEMPTS = 6
"""How often a verb is tried in all: over half a minute, on top of what the driver itself does."""


WAIT = tenacity.wait_exponential(multiplier=1, max=30)


_LOCAL = frozenset({"file", "local"})


_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3", "abfs": "azure", "abfss": "azure", "az": "azure"}
"""Scheme to the extra of this package that brings its driver."""


_GCS_PROBE = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
"""Unless this is `false` when gcsfs is imported, it asks over gRPC of which kind a bucket is, and waits for a minute
where there is no answer, at the first call and again at later ones."""


def open_storage(
    uri: str, options: Mapping[str, Any], threads: int, sleep: Callable[[float], None] = time.sleep
) -> Storage:
    """Open the storage of a URI. Nothing is made there yet.

    :arg uri: A folder, or a URL that fsspec has a driver for, such as `file:///data/snapshots` or `memory://snapshots`.

    :arg options: What the driver is given.

    :arg threads: How many objects may be written, read or deleted at once.

    :arg sleep: Waits some seconds, between two tries.

    :returns: Storage, whose verbs try again after errors that may be over by then.

    :raises ConfigError: If the URI means no storage, its driver is not installed, or does not take the options.

    :raises StorageError: If the driver reaches for the storage at once, and does not reach it.

    """
    return Retrying(_open(uri, options, threads), ATTEMPTS, WAIT, sleep)


def check_uri(uri: str, options: Mapping[str, Any]) -> None:
    """Refuse a URI that means no storage, or whose driver is not installed, without touching anything.

    :arg uri: As given to `open_storage`.

    :arg options: What the driver is given.

    :raises ConfigError: If it is one.

    """
    found = URI.fullmatch(uri)
    _check_single(uri)
    if found is not None and found["scheme"].lower() not in _LOCAL:
        _driver(found["scheme"].lower(), hider(found, options)(uri))


def shared_url(uri: str, options: Mapping[str, Any]) -> str | None:
    """Tell from a URI alone whether others may write to its storage.

    :arg uri: As given to `open_storage`.

    :arg options: What the driver is given.

    :returns: What to show of the URI; `None` for a folder of this machine, and for `memory://`.

    """
    found = URI.fullmatch(uri)
    if found is None or found["scheme"].lower() in _LOCAL | {"memory"}:
        return None
    return hider(found, options)(uri)


def _open(uri: str, options: Mapping[str, Any], threads: int) -> Storage:
    check_uri(uri, options)
    found = URI.fullmatch(uri)
    if found is None:
        return Folder(absolute(uri))
    scheme, hide = found["scheme"].lower(), hider(found, options)
    if scheme in _LOCAL:
        return Folder(absolute(uri.partition("://")[2]))
    shown = hide(uri)
    fixed = {"use_listings_cache": False, "skip_instance_cache": True}
    driver = _driver(scheme, shown)
    try:
        fs = driver(**{**driver._get_kwargs_from_urls(uri), **options, **fixed})  # noqa: SLF001  # for drivers
        root = str(fs._strip_protocol(uri))  # noqa: SLF001  # likewise
    except Exception as ex:  # noqa: BLE001  # a driver may raise anything
        text = hide(str(ex))
        remedy = open_files.remedy(ex)
        todo = remedy or "check it and BYTEWAX_STATE_STORAGE_OPTIONS"
        msg = f"BYTEWAX_STATE_URI is {shown}, and its driver says: {text}; {todo}"
        kind = StorageError if remedy or isinstance(ex, OSError) else ConfigError
        raise kind(msg) from shown_cause(ex, hide)
    if scheme == "memory":
        return Memory(fs, root, shown, threads, hide)
    if not root.strip("/"):
        msg = f"BYTEWAX_STATE_URI is {shown}, expected the name of a bucket or folder behind it"
        raise ConfigError(msg)
    return Bucket(fs, root, shown, threads, hide)


def _check_single(uri: str) -> None:
    """Refuse what was meant for a URL, and would silently become a folder of that name, and chained URLs."""
    if ":" in uri.partition("/")[0] and (URI.fullmatch(uri) is None or "::" in uri):
        shown = re.sub(r"//[^/]*@|\?.*", "***", uri)
        msg = f"BYTEWAX_STATE_URI is {shown}, expected a folder, or one URL such as file:///data or gs://bucket/prefix"
        raise ConfigError(msg)


def _driver(scheme: str, shown: str) -> Any:
    """Import the driver of a scheme, in a way in which it does not hang."""
    if _EXTRAS.get(scheme) == "gcs":
        os.environ.setdefault(_GCS_PROBE, "false")
    try:
        return _without_probe(fsspec.get_filesystem_class(scheme))
    except ValueError:
        msg = (
            f"BYTEWAX_STATE_URI is {shown}, whose scheme {scheme!r} is not known; expected a folder, or a URL that "
            "begins with file, memory, gs, s3, abfs, or another scheme that fsspec has a driver for"
        )
        raise ConfigError(msg) from None
    except ImportError as ex:
        extra = _EXTRAS.get(scheme)
        remedy = f"pip install 'bytewax-state[{extra}]'" if extra else str(ex)
        msg = f"BYTEWAX_STATE_URI is {shown}, and the driver for {scheme}:// is not installed: {remedy}"
        raise ConfigError(msg) from ex


def _without_probe(driver: Any) -> Any:
    """Choose gcsfs's driver that does not probe, though the flow's module may have imported gcsfs before."""
    if os.environ.get(_GCS_PROBE, "").lower() in {"true", "1"}:
        return driver
    return next((cls for cls in driver.__mro__ if cls.__module__ == "gcsfs.core"), driver)
