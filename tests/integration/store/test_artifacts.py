import hashlib
import os
import stat
import uuid

import pytest
from sqlalchemy import text

from app.errors import ConfigError, Conflict, NotFound, Unavailable, UserError
from app.store.artifacts import ArtifactStore

CONTENT = os.urandom(3_000_000)


@pytest.fixture(params=["folder", "memory"])
def store(request, engine, tmp_path):
    url = str(tmp_path / "artifacts") if request.param == "folder" else f"memory://{uuid.uuid4()}"
    return ArtifactStore(engine, url, 30, cache=tmp_path / "cache")


@pytest.fixture
def folder_store(engine, tmp_path):
    return ArtifactStore(engine, str(tmp_path / "artifacts"), 30)


def put(store, tmp_path, *, content=CONTENT, name="a.pcap", tenant="default"):
    path = tmp_path / "made.bin"
    path.write_bytes(content)
    return store.put(
        path, tenant=tenant, step_id=7, execution_id=uuid.uuid4(), name=name, kind="pcap"
    )


def only_row(engine):
    with engine.connect() as connection:
        return connection.execute(text("select * from artifacts")).one_or_none()


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_comes_back_with_its_facts(store, engine, tmp_path):
    artifact = put(store, tmp_path)
    assert (artifact.name, artifact.kind) == ("a.pcap", "pcap")
    assert artifact.size_bytes == len(CONTENT)
    assert artifact.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert store.fetch("default", artifact.id).read_bytes() == CONTENT
    row = only_row(engine)
    assert (row.tenant, row.step_id, str(row.id)) == ("default", 7, artifact.id)
    assert 29 <= (row.expires_at - row.created_at).days <= 30


def test_the_file_moved(store, tmp_path):
    put(store, tmp_path)
    assert not (tmp_path / "made.bin").exists()


def test_an_empty_file_is_an_artifact_too(store, tmp_path):
    artifact = put(store, tmp_path, content=b"")
    assert store.fetch("default", artifact.id).read_bytes() == b""


def test_another_tenant_does_not_find_it(store, tmp_path):
    artifact = put(store, tmp_path)
    with pytest.raises(NotFound):
        store.fetch("other", artifact.id)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/cron.d/x", "..\\..\\x", "a\x00b", "..", "", "x" * 9999]
)
def test_no_name_becomes_a_path(folder_store, tmp_path, name):
    artifact = put(folder_store, tmp_path, name=name)
    assert not {"/", "\\", "\x00"} & set(artifact.name)
    assert 0 < len(artifact.name) <= 255
    (kept,) = files_below(tmp_path)
    assert kept.relative_to(tmp_path / "artifacts").name == artifact.id.replace("-", "")


@pytest.mark.parametrize(
    "artifact_id", ["../x", "", "a" * 10_000, "aa6419c8-dd3d-4a02-8b95-7a3c8c09321e"]
)
def test_an_id_that_is_none_is_not_found(store, artifact_id):
    with pytest.raises(NotFound):
        store.fetch("default", artifact_id)


def test_altered_bytes_are_not_handed_out(folder_store, tmp_path):
    artifact = put(folder_store, tmp_path)
    path = folder_store.fetch("default", artifact.id)
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(Conflict, match="SHA-256"):
        folder_store.fetch("default", artifact.id)


def test_lost_bytes_are_said_to_be_lost(folder_store, tmp_path):
    artifact = put(folder_store, tmp_path)
    folder_store.fetch("default", artifact.id).unlink()
    with pytest.raises(NotFound, match="not in the store"):
        folder_store.fetch("default", artifact.id)


def test_a_local_copy_that_was_altered_is_fetched_anew(engine, tmp_path):
    store = ArtifactStore(engine, f"memory://{uuid.uuid4()}", 30, cache=tmp_path / "cache")
    artifact = put(store, tmp_path)
    path = store.fetch("default", artifact.id)
    path.write_bytes(b"altered")
    assert store.fetch("default", artifact.id).read_bytes() == CONTENT
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_only_others_stay_shut_out_of_the_folder(folder_store, tmp_path):
    put(folder_store, tmp_path)
    assert stat.S_IMODE((tmp_path / "artifacts").stat().st_mode) == 0o700


def test_what_expired_is_removed_with_its_bytes_and_the_rest_stays(engine, store, tmp_path):
    old = put(store, tmp_path)
    store.fetch("default", old.id)
    with engine.begin() as connection:
        connection.execute(text("update artifacts set expires_at = now() - interval '1 s'"))
    fresh = put(store, tmp_path, content=b"fresh")
    assert store.remove_expired() == 1
    assert store.remove_expired() == 0
    with pytest.raises(NotFound, match=old.id):
        store.fetch("default", old.id)
    assert store.fetch("default", fresh.id).read_bytes() == b"fresh"
    assert CONTENT not in [path.read_bytes() for path in files_below(tmp_path)]


def test_expired_rows_whose_bytes_are_gone_are_removed_too(engine, folder_store, tmp_path):
    artifact = put(folder_store, tmp_path)
    folder_store.fetch("default", artifact.id).unlink()
    with engine.begin() as connection:
        connection.execute(text("update artifacts set expires_at = now() - interval '1 s'"))
    assert folder_store.remove_expired() == 1
    assert only_row(engine) is None


def test_when_the_ledger_refuses_the_file_stays_where_it_was(engine, folder_store, tmp_path):
    with engine.begin() as connection:
        connection.execute(text("alter table artifacts add check (kind <> 'pcap')"))
    with pytest.raises(Exception, match="violates check constraint"):
        put(folder_store, tmp_path)
    assert (tmp_path / "made.bin").read_bytes() == CONTENT
    assert files_below(tmp_path / "artifacts") == []


def test_a_store_that_cannot_be_written_says_so(engine, tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    store = ArtifactStore(engine, str(tmp_path / "taken"), 30)
    with pytest.raises((Unavailable, FileExistsError)):
        put(store, tmp_path)
    assert (tmp_path / "made.bin").exists()
    assert only_row(engine) is None


def test_a_link_is_not_followed(folder_store, tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="not a plain file"):
        folder_store.put(
            tmp_path / "link",
            tenant="default",
            step_id=None,
            execution_id=None,
            name="x",
            kind="dump",
        )


def test_a_cache_that_others_can_change_is_not_used(engine, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    store = ArtifactStore(engine, f"memory://{uuid.uuid4()}", 30, cache=tmp_path / "cache")
    artifact = put(store, tmp_path)
    with pytest.raises(ConfigError, match="changed by others"):
        store.fetch("default", artifact.id)
