"""Makes and parses the name of every object in the storage, and of every folder on the local disk.

Owns the two trees below, and that two ids never share a name. It does not own what lies under a name.
Called by everything that reads or writes a snapshot.

    <BYTEWAX_STATE_URI>/
      <flow_id>/steps/<step_id>/
        <store_id>/                      one execution of one step on one worker
          000000000000.manifest          version 0: the claim
          000000000001.manifest          version 1
          files/000008.sst

    <BYTEWAX_STATE_DIR>/
      <flow_id>/<step_id>/
        worker-000.lock                  held by the run that uses worker index 0
        <store_id>/live/                 the open table
        <store_id>/frozen/000000000001/  frozen images
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

__all__ = [
    "ManifestName",
    "StepId",
    "StoreId",
    "component",
    "file_path",
    "is_chosen",
    "is_local_name",
    "is_of",
    "is_store_id",
    "new_store_id",
    "parse_file_path",
    "parse_manifest_name",
    "steps_prefix",
    "store_time",
    "store_worker",
]

MAX_COMPONENT = 200
"""Most bytes of a component: file systems take 255, and a lock or a temporary file may want a few more."""

_DIGEST = 32

_STORE_ID = re.compile(r"[0-9A-Z]{1,64}-w([0-9]{3,9})-[0-9a-f]{8,64}")
_LOCK = re.compile(r"worker-([0-9]{3,9})\.lock")
_LOCAL_NAME = re.compile(r"[0-9]{1,20}\.sst")
_MANIFEST = re.compile(r"([0-9]{12,19})\.manifest")


@dataclass(frozen=True, slots=True)
class StepId:
    """A stateful core step of a flow."""

    flow_id: str
    step_id: str
    """Its full id."""

    @classmethod
    def of(cls, step_id: str) -> "StepId":
        """Name a step whose flow is not told: full ids begin with that of the flow, in which Bytewax forbids `.`."""
        return cls(step_id.partition(".")[0], step_id)

    @property
    def prefix(self) -> str:
        """Its folder in the storage, without a slash at the end."""
        return f"{steps_prefix(component(self.flow_id))}/{component(self.step_id)}"

    def folder(self, root: Path) -> Path:
        """Name its local folder.

        :arg root: Local folder of all flows.

        """
        return root / component(self.flow_id) / component(self.step_id)

    def lock(self, root: Path, worker_index: int) -> Path:
        """Name the file that the run which uses a worker index holds; see `folder`."""
        return self.folder(root) / f"worker-{worker_index:03}.lock"

    def local_stores(self, root: Path, worker_index: int) -> list["StoreId"]:
        """List the stores that have a local folder.

        :arg root: Local folder of all flows.

        :arg worker_index: Only stores that this worker index made.

        :returns: Stores, oldest first.

        """
        folder = self.folder(root)
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        matches = (_STORE_ID.fullmatch(name) for name in names)
        found = sorted(one[0] for one in matches if one is not None and int(one[1]) == worker_index)
        return [StoreId(self, store_id) for store_id in found]

    def local_workers(self, root: Path) -> list[int]:
        """List the worker indices that have a lock.

        :arg root: Local folder of all flows.

        :returns: Indices, rising.

        """
        folder = self.folder(root)
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(found[1]) for found in map(_LOCK.fullmatch, names) if found is not None)


@dataclass(frozen=True, slots=True)
class StoreId:
    """A store: one execution of a step on one worker."""

    step: StepId
    store_id: str

    @property
    def prefix(self) -> str:
        """Its folder in the storage, without a slash at the end."""
        return f"{self.step.prefix}/{self.store_id}"

    def manifest(self, version: int) -> str:
        """Name the object that a manifest is.

        :arg version: Version; 0 is the claim. Names sort as versions do.

        """
        return f"{self.prefix}/{version:012}.manifest"

    def file(self, local: str) -> str:
        """Name the object that an SST is.

        :arg local: Local name, such as `000008.sst`, of an SST that it wrote.

        """
        return f"{self.step.prefix}/{file_path(self.store_id, local)}"

    def folder(self, root: Path) -> Path:
        """Name its local folder; see `StepId.folder`."""
        return self.step.folder(root) / self.store_id

    def live(self, root: Path) -> Path:
        """Name the folder of its open table; see `StepId.folder`."""
        return self.folder(root) / "live"

    def frozen(self, root: Path, version: int) -> Path:
        """Name the folder of its frozen image of a version; see `StepId.folder`."""
        return self.folder(root) / "frozen" / f"{version:012}"

    def images(self, root: Path) -> list[Path]:
        """List the folders of its frozen images that are whole, oldest first; see `StepId.folder`."""
        folder = self.folder(root) / "frozen"
        return sorted(path for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


class ManifestName(NamedTuple):
    """The parts of a manifest's name."""

    flow: str
    """As in the name: `component` of the flow's id."""
    step: str
    """As in the name: `component` of the step's id."""
    store_id: str
    version: int


def component(name: str) -> str:
    """Make one part of a path of an id. Different ids give different parts, and none is `.`, `..`, empty or hidden.

    :arg name: Flow or step id; any text.

    :returns: The id, percent-encoded; a long one is cut, with a digest of the whole behind. `=` is in no encoded id,
        so it marks what is not the id itself.

    """
    text = quote(name, safe="", errors="surrogatepass")
    if text.startswith("."):
        text = f"%2E{text[1:]}"
    if len(text) > MAX_COMPONENT:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        return f"{text[: MAX_COMPONENT - _DIGEST - 1]}={digest}"
    return text or "="


def new_store_id(now: datetime, worker_index: int, random_bytes: bytes) -> str:
    """Make the id of a store: it sorts by time, and nobody has it already.

    :arg now: Current time, with its zone.

    :arg worker_index: Index of the worker.

    :arg random_bytes: At least 4.

    :returns: Such as `20261124T081500123456Z-w000-ab12cd34`.

    """
    assert now.tzinfo is not None
    store_id = f"{now.astimezone(timezone.utc):%Y%m%dT%H%M%S%fZ}-w{worker_index:03}-{random_bytes.hex()}"
    assert is_store_id(store_id), store_id
    return store_id


def is_store_id(text: str) -> bool:
    """Tell whether a text is a store's id, and so safe in a path."""
    return _STORE_ID.fullmatch(text) is not None


def is_local_name(text: str) -> bool:
    """Tell whether a text is the local name of an SST, such as `000008.sst`."""
    return _LOCAL_NAME.fullmatch(text) is not None


def steps_prefix(flow: str) -> str:
    """Name the folder of the steps of a flow in the storage.

    :arg flow: Folder of the flow: `component` of its id.

    :returns: Name, without a slash at its end.

    """
    return f"{flow}/steps"


def parse_manifest_name(name: str) -> ManifestName | None:
    """Take the name of a manifest apart.

    :arg name: Name of any object.

    :returns: Its parts; `None` if it is not the name of a manifest.

    """
    parts = name.split("/")
    if len(parts) != 5 or parts[1] != "steps" or not is_store_id(parts[3]):
        return None
    found = _MANIFEST.fullmatch(parts[4])
    if found is None or f"{int(found[1]):012}" != found[1]:
        return None
    return ManifestName(parts[0], parts[2], parts[3], int(found[1]))


def is_of(prefix: str, flows: Collection[str]) -> bool:
    """Tell whether a step's folder is that of one of some flows."""
    return any(prefix.startswith(f"{component(flow)}/") for flow in flows)


def is_chosen(prefix: str, flow: str | None, step: str | None) -> bool:
    """Tell whether a step's folder is that of a step, or of one inside of an operator.

    :arg prefix: Folder of a step in the storage.

    :arg flow: Flow; `None` for any.

    :arg step: Full id of a core step or of an operator; `None` for any.

    :returns: Whether it is.

    """
    found, _, last = prefix.split("/")
    within = step is None or last == component(step) or last.startswith(f"{component(step)}.")
    return within and (flow is None or found == component(flow))


def store_time(store_id: str) -> datetime | None:
    """Tell when the id of a store was made.

    :returns: Time, in UTC; `None` if the id does not tell.

    """
    try:
        return datetime.strptime(store_id.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def store_worker(store_id: str) -> int:
    """Tell which worker index made a store."""
    return int(_STORE_ID.fullmatch(store_id)[1])  # type: ignore[index]


def file_path(store_id: str, local: str) -> str:
    """Name an SST below its step, as manifests do.

    :arg store_id: The store that wrote it.

    :arg local: Its local name.

    """
    return f"{store_id}/files/{local}"


def parse_file_path(path: str) -> tuple[str, str] | None:
    """Take the path of an SST below its step apart.

    :arg path: Any text.

    :returns: The store that wrote it, and its local name there; `None` if it is no such path.

    """
    parts = path.split("/")
    if len(parts) != 3 or parts[1] != "files" or not is_store_id(parts[0]) or not is_local_name(parts[2]):
        return None
    return parts[0], parts[2]
