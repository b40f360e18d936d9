"""A disk that forgets: SQLite's own writes and syncs, and what a power cut leaves of them.

The recording is real: an apsw VFS passes every call on to the file system and notes it. The cut is
a model: what was synced is there; of what was not, nothing, a prefix, or the newest write alone. A
sector of 512 bytes is written whole or not at all. A new file is there from its first sync on, with
which SQLite syncs the directory; a deleted one may come back.

apsw is loaded by `Recorder` only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from arcfusion.agents.bench.apsw_connection import ApswConnection
from arcfusion.core.home import Home
from arcfusion.core.lock import WriterLock

if TYPE_CHECKING:
    import apsw

SECTOR_BYTES = 512
Kind = Literal["write", "truncate", "sync", "delete"]


class Call(NamedTuple):
    """One call to the file system; `offset` is the new size of a truncated file."""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Disk:
    """Files as a power cut leaves them; `pending` is what no sync has reached, in order."""

    synced: dict[str, bytearray]
    pending: list[Call] = field(default_factory=list)
    num_syncs: int = 0

    def take(self, call: Call) -> None:
        """Go on by one call."""
        if call.kind != "sync":
            self.pending.append(call)
            return
        self.num_syncs += 1
        self.synced = _apply(self.synced, (c for c in self.pending if c.name == call.name))
        self.pending = [c for c in self.pending if c.name != call.name]

    def clean(self) -> Mapping[str, bytearray]:
        """Return the files when nothing reached the disk but what was synced."""
        return self.synced

    def eager(self) -> Mapping[str, bytearray]:
        """Return the files when everything reached the disk."""
        return _apply(self.synced, self.pending)

    def torn(self) -> Mapping[str, bytearray]:
        """Return the files when the power went in the middle of the newest write."""
        *before, last = self.pending
        first = SECTOR_BYTES - last.offset % SECTOR_BYTES
        ends = range(first, len(last.data), SECTOR_BYTES)
        # Which sector it was differs from cut to cut, and is the same in each run.
        end = ends[last.offset // SECTOR_BYTES % len(ends)] if ends else 0
        return _apply(self.synced, [*before, last._replace(data=last.data[:end])])

    def late(self) -> Mapping[str, bytearray]:
        """Return the files when the newest write overtook the others that no sync has reached."""
        return _apply(self.synced, self.pending[-1:])


def _apply(files: Mapping[str, bytearray], calls: Iterable[Call]) -> dict[str, bytearray]:
    """Return the files after the calls; those that no call changes are shared, not copied."""
    changed = dict(files)
    own: set[str] = set()
    for call in calls:
        if call.name not in own:
            changed[call.name] = bytearray(changed.get(call.name, b""))
            own.add(call.name)
        content = changed[call.name]
        match call.kind:
            case "write":
                content.extend(bytes(max(0, call.offset - len(content))))
                content[call.offset : call.offset + len(call.data)] = call.data
            case "truncate":
                del content[call.offset :]
            case _:
                content.clear()
    return changed


class Recorder:
    """Opens databases with apsw and keeps every call that they make, in order.

    Raises:
        ImportError: apsw is not installed.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._name = f"recorded-{id(self)}"
        self._disk = _register(self._name, self.calls)

    def open(self, home: Home) -> ApswConnection:
        """Open the lab's database as the queue uses a connection.

        No other connection of this process may be open on the file with Python's sqlite3: two
        libraries in one process drop each other's file locks.
        """
        import apsw

        connection = apsw.Connection(str(home.db_path), vfs=self._name)
        return ApswConnection(connection, WriterLock(home.lock_path))


def _register(vfs_name: str, calls: list[Call]) -> "apsw.VFS":
    import apsw

    class RecordedFile(apsw.VFSFile):
        def __init__(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> None:
            self.name = _short(name.filename() if isinstance(name, apsw.URIFilename) else name)
            super().__init__("", cast("str", name), flags)  # the stub knows no URIFilename

        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # apsw's name
            super().xWrite(data, offset)
            calls.append(Call("write", self.name, offset, bytes(data)))

        def xTruncate(self, newsize: int) -> None:  # noqa: N802  # apsw's name
            super().xTruncate(newsize)
            calls.append(Call("truncate", self.name, newsize))

        def xSync(self, flags: int) -> None:  # noqa: N802  # apsw's name
            super().xSync(flags)
            calls.append(Call("sync", self.name))

    class RecordedDisk(apsw.VFS):
        def xOpen(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # apsw's name
            if not _short(name.filename() if isinstance(name, apsw.URIFilename) else name):
                return super().xOpen(name, flags)
            return RecordedFile(name, flags)

        def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  # apsw's name
            super().xDelete(filename, syncdir)
            calls.append(Call("delete", _short(filename)))

    return RecordedDisk(vfs_name, "")


def _short(name: str | None) -> str:
    """The file's last part; empty for a temporary file, which no cut has to keep."""
    return Path(name).name if name else ""
