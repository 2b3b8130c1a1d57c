"""Translation: how storages fail.

Owns which errors of the disk, or of a driver, become which of ours, and which of them may be over at the next try. It
does not own when to try again (`retrying`). Called by `folder` and `bucket`.
"""

import errno
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bytewax_state import open_files
from bytewax_state.errors import BytewaxStateError, ConflictError, StorageError

__all__ = [
    "TEMPORARY",
    "TransientError",
    "check_name",
    "conflict",
    "is_part",
    "shown_cause",
    "translated",
]


TEMPORARY = ".tmp-"
"""How the names of temporary files begin. No name of an object has a part that begins with a dot."""

_PART = re.compile(r"[A-Za-z0-9_~%=-][A-Za-z0-9_.~%=-]*")

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_PERMANENT = frozenset(
    {
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EFBIG,
        errno.EINVAL,
        # The file system lacks the operation, and will lack it at the next try.
        *(errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK),
    }
)
_PERMANENT_ERRORS = (
    *(FileNotFoundError, PermissionError),
    *(ArithmeticError, AttributeError, ImportError, LookupError, NotImplementedError, TypeError, ValueError),
)
_TRANSIENT_STATUS = frozenset({408, 429})


class TransientError(StorageError):
    """The storage failed in a way that may be over at the next try."""


def is_part(text: str) -> bool:
    """Tell whether a text can be a part of an object's name, between two slashes.

    What cannot is somebody else's, such as `lost+found` or `.snapshot`: no verb goes into it.
    """
    return _PART.fullmatch(text) is not None


def check_name(name: str, url: str) -> None:
    """Refuse a name that the layout does not make: it could lead out of a storage.

    :arg name: Name of an object.

    :arg url: URL of the storage.

    :raises StorageError: If it is one.

    """
    if not all(map(is_part, name.split("/"))):
        msg = f"{name!r} cannot be the name of an object in {url}; names are made by the layout"
        raise StorageError(msg)


@contextmanager
def translated(verb: str, what: str, hide: Callable[[str], str], *, missing: bool) -> Iterator[None]:
    """Turn what the disk or a driver raises into our errors.

    :arg verb: What is being done.

    :arg what: To which object.

    :arg hide: Takes what is secret out of a text. Where there is some, the original error is not shown.

    :arg missing: Whether `FileNotFoundError` is an answer, rather than an error.

    """
    try:
        yield
    except BytewaxStateError:
        raise
    except Exception as ex:  # noqa: BLE001  # a driver may raise anything
        if missing and isinstance(ex, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "No such object", what) from None
        text = str(ex) or type(ex).__name__
        shown = hide(text)
        kind = TransientError if _is_transient(ex) else StorageError
        msg = f"cannot {verb} {what}: {shown}; {_advice(ex)}"
        raise kind(msg) from shown_cause(ex, hide)


def shown_cause(ex: Exception, hide: Callable[[str], str]) -> Exception | None:
    """Choose what to show as the cause of our error.

    :arg ex: Error of a driver.

    :arg hide: Takes what is secret out of a text.

    :returns: The error; `None` if its traceback, with those of its own causes, would show a secret.

    """
    text = "".join(traceback.format_exception(ex))
    return ex if hide(text) == text else None


def _is_transient(ex: Exception) -> bool:
    if isinstance(ex, _PERMANENT_ERRORS) or (isinstance(ex, OSError) and ex.errno in _NO_SPACE | _DENIED | _PERMANENT):
        return False
    status = getattr(ex, "code", None) or getattr(ex, "status", None)
    return not (isinstance(status, int) and 400 <= status < 500 and status not in _TRANSIENT_STATUS)


def _advice(ex: Exception) -> str:
    remedy = open_files.remedy(ex)
    if remedy is not None:
        return remedy
    number = ex.errno if isinstance(ex, OSError) else None
    if number in _NO_SPACE:
        return "free some space there, or set BYTEWAX_STATE_URI to a place that has some"
    if number in _DENIED or isinstance(ex, PermissionError):
        return "let this user read and write there, or set BYTEWAX_STATE_URI to a place where it may"
    if _is_transient(ex):
        return "start again when the storage is back"
    return "check BYTEWAX_STATE_URI and BYTEWAX_STATE_STORAGE_OPTIONS"


def conflict(url: str, name: str) -> ConflictError:
    """Make the error for an object that exists already, with another content.

    :arg url: URL of the storage.

    :arg name: Name of the object.

    """
    msg = (
        f"{url}/{name} exists already, with other bytes: another run writes to the same store, or somebody copied "
        "objects here; end the other run, or set BYTEWAX_STATE_URI to a place of its own"
    )
    return ConflictError(msg)
