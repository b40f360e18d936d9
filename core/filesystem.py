"""What kind of file system a lab lies on: locks and WAL hold on a local one only."""

from pathlib import Path

from arcfusion.core.errors import BadInputError

# WAL shares memory between processes, which another machine can not see; over NFS, SMB and 9p locks
# are often granted twice. Source: sqlite.org/wal.html and sqlite.org/faq.html#q5.
NETWORK_KINDS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"),
        *("lustre", "beegfs", "gpfs", "ocfs2", "gfs2", "ncpfs", "virtiofs"),
    }
)
LOCAL_FUSE_KINDS = frozenset({"fuseblk", "fuse.fuse-overlayfs"})
MOUNTS = Path("/proc/self/mountinfo")


class NetworkFilesystemError(BadInputError):
    """A lab can not lie on a network file system."""


def find_kind(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the kind of the file system that holds the path, such as `ext4`.

    None where the system does not say.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    wanted = path.resolve()
    best, kind = -1, None
    for line in lines:
        # 36 35 98:0 /root /mount rw shared:1 - ext4 /dev/sda rw; a space is written as \040.
        left, _, right = line.partition(" - ")
        mount = Path(left.split()[4].replace("\\040", " "))
        # The last one wins: a later mount hides an earlier one of the same place.
        if (wanted == mount or mount in wanted.parents) and len(mount.parts) >= best:
            best, kind = len(mount.parts), right.split()[0]
    return kind


def is_network(kind: str | None) -> bool:
    """Return whether SQLite's locks can not be relied on there."""
    if kind is None or kind in LOCAL_FUSE_KINDS:
        return False
    return kind in NETWORK_KINDS or kind == "fuse" or kind.startswith("fuse.")


def check_local(path: Path, mounts: Path = MOUNTS) -> None:
    """Refuse a place on a network file system.

    Raises:
        NetworkFilesystemError: it is one; the message says where a lab can be.
    """
    kind = find_kind(path, mounts)
    if is_network(kind):
        raise NetworkFilesystemError(
            f"{str(path)!r} is on a network file system ({kind}), where SQLite's locks do not "
            "hold: name a directory on a local disk with ARCFUSION_HOME"
        )
