"""df against file systems of this host, one of them made by the test."""

import os
import subprocess

import pytest

from app.step import State
from tool_catalog.model import Reason

MIB = 1024 * 1024


@pytest.fixture
def planted_mount(tmp_path, require_root, require_program):
    """A tmpfs of exactly 12 MiB that holds a file of exactly 3 MiB."""
    mount = tmp_path / "planted"
    mount.mkdir()
    words = ["-t", "tmpfs", "-o", "size=12m,nr_inodes=100", "planted", str(mount)]
    subprocess.run([require_program("mount"), *words], check=True)
    (mount / "file").write_bytes(b"x" * 3 * MIB)
    yield mount
    subprocess.run([require_program("umount"), str(mount)], check=True)


@pytest.mark.root
@pytest.mark.proves("df", "usage")
def test_a_mount_of_known_size_is_told_exactly(bench, planted_mount):
    given = {"path": str(planted_mount), "exclude_types": []}
    result = bench.run("df", "usage", given).result
    assert result.state is State.SUCCEEDED
    assert result.output == [
        {
            "source": "planted",
            "type": "tmpfs",
            "inodes": 100,
            "inodes_used": 2,
            "inodes_free": 98,
            "size_bytes": 12 * MIB,
            "used_bytes": 3 * MIB,
            "free_bytes": 9 * MIB,
            "used": 25.0,
            "mount": str(planted_mount),
        }
    ]


def test_size_and_inodes_agree_with_the_kernel(bench, tmp_path):
    facts = os.statvfs(tmp_path)
    given = {"path": str(tmp_path), "exclude_types": [], "local_only": False}
    [row] = bench.run("df", "usage", given).result.output
    assert row["size_bytes"] == facts.f_blocks * facts.f_frsize
    assert row["inodes"] == facts.f_files


def test_a_missing_path_is_not_found(bench, tmp_path):
    missing = tmp_path / "not there"
    result = bench.run("df", "usage", {"path": str(missing)}).result
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert result.summary == f"{missing} does not exist"
