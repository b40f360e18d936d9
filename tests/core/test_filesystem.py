"""This fails when a lab can be made where SQLite's locks do not hold."""

from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.filesystem import (
    NetworkFilesystemError,
    check_local,
    find_kind,
    is_network,
)
from arcfusion.core.home import new_home

MOUNTS = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /net rw - nfs4 server:/export rw
31 30 0:31 / /net/local rw - tmpfs tmpfs rw
32 22 0:32 / /with\\040space rw shared:9 master:2 - cifs //server/share rw
33 22 0:33 / /fuse rw - fuse.sshfs host:/ rw
34 22 0:34 / /overlay rw - fuse.fuse-overlayfs overlay rw
35 22 0:35 / /net rw - xfs /dev/sdb rw
"""
KINDS = {
    "/home/x": "ext4",
    "/network": "ext4",
    "/net/a/b": "xfs",  # mounted over the NFS
    "/net/local/a": "tmpfs",
    "/with space/a": "cifs",
    "/fuse/a": "fuse.sshfs",
    "/overlay/a": "fuse.fuse-overlayfs",
}


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize("path", KINDS)
def test_the_kind_is_that_of_the_innermost_mount(path: str, mounts: Path) -> None:
    assert find_kind(Path(path), mounts) == KINDS[path]


def test_network_kinds_are_refused_and_local_ones_are_not(mounts: Path) -> None:
    with pytest.raises(NetworkFilesystemError, match=r"cifs.*ARCFUSION_HOME"):
        check_local(Path("/with space/lab"), mounts)
    with pytest.raises(NetworkFilesystemError, match="sshfs"):
        check_local(Path("/fuse/lab"), mounts)
    check_local(Path("/overlay/lab"), mounts)
    check_local(Path("/home/lab"), mounts)
    assert [
        kind for kind in ("9p", "nfs", "smb3", "fuse", "virtiofs") if not is_network(kind)
    ] == []


def test_a_system_that_does_not_say_refuses_nothing(tmp_path: Path) -> None:
    assert find_kind(tmp_path, tmp_path / "none") is None
    check_local(tmp_path, tmp_path / "none")


def test_init_looks_before_it_makes_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcfusion.core.filesystem.find_kind", lambda *_: "nfs4")
    home = new_home(tmp_path)
    with pytest.raises(NetworkFilesystemError, match="nfs4"):
        store.create(home)
    assert not home.db_path.exists()
