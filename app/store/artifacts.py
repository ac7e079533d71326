"""Files that steps leave behind: bytes in a folder or any fsspec URL, the facts in PostgreSQL.

Bytes lie under a name made from the artifact's id alone: no name that a tool or a user chose
ever becomes a path.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from fsspec.core import url_to_fs
from sqlalchemy import Engine, delete, func, select

from app.errors import ConfigError, Conflict, NotFound, Unavailable, UserError
from app.step import Artifact
from app.store.db import guard_unavailable, make_sessions
from app.store.models import ArtifactRow

_BLOCK_BYTES = 1024 * 1024
_MAX_NAME_CHARS = 255
#: How many expired artifacts one transaction removes.
_REMOVE_BATCH = 100


class ArtifactStore:
    """Keeps files with size, SHA-256, owner and retention. Raises Unavailable.

    `url` is a folder or an fsspec URL ("s3://bucket/opsfarm"); `cache` holds the local copies
    of what lies elsewhere.
    """

    def __init__(
        self, engine: Engine, url: str, retention_days: int, cache: Path | None = None
    ) -> None:
        self._sessions = make_sessions(engine)
        self._files, root = url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._is_local = "file" in self._files.protocol
        self._retention = timedelta(days=retention_days)
        self._cache = cache or Path(tempfile.gettempdir()) / f"opsfarm-artifacts-{os.getuid()}"

    def put(  # noqa: PLR0913  # who owns the file, and what it is
        self,
        path: Path,
        *,
        tenant: str,
        step_id: int | None,
        execution_id: UUID | None,
        name: str,
        kind: str,
    ) -> Artifact:
        """Move a file into the store; it leaves `path` only once it is kept."""
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path.name!r} is not a plain file")
        row = ArtifactRow(id=uuid4(), tenant=tenant, execution_id=execution_id, step_id=step_id)
        row.name, row.kind, row.url = _plain_name(name), kind, f"{row.id.hex[:2]}/{row.id.hex}"
        row.expires_at = func.now() + self._retention
        try:
            row.size_bytes, row.sha256 = self._write(path, row.url)
            with guard_unavailable(), self._sessions.begin() as session:
                session.add(row)
        except Exception:
            self._remove_bytes(row.url)
            raise
        path.unlink()
        return Artifact(str(row.id), row.name, kind, row.size_bytes, row.sha256)

    def fetch(self, tenant: str, artifact_id: str) -> Path:
        """A local copy to read, its SHA-256 checked; raises NotFound, or Conflict when altered."""
        row = self._find(tenant, artifact_id)
        if self._is_local:
            return _check(Path(self._place(row.url)), row)
        path = self._cache / row.id.hex
        return path if _holds(path, row) else self._download(row, path)

    def name_of(self, tenant: str, artifact_id: str) -> str:
        """The name that an artifact was given: for people, never a path. Raises NotFound."""
        return self._find(tenant, artifact_id).name

    def remove_expired(self) -> int:
        """Remove what outlived its retention, bytes first; how many."""
        removed = 0
        while batch := self._remove_some():
            removed += batch
        return removed

    def _remove_some(self) -> int:
        rows = select(ArtifactRow).where(ArtifactRow.expires_at < func.now())
        rows = rows.order_by(ArtifactRow.expires_at).limit(_REMOVE_BATCH)
        with guard_unavailable(), self._sessions.begin() as session:
            expired = session.scalars(rows.with_for_update(skip_locked=True)).all()
            for row in expired:
                self._remove_bytes(row.url)
                (self._cache / row.id.hex).unlink(missing_ok=True)
            ids = [row.id for row in expired]
            session.execute(delete(ArtifactRow).where(ArtifactRow.id.in_(ids)))
        return len(expired)

    def _find(self, tenant: str, artifact_id: str) -> ArtifactRow:
        try:
            wanted = UUID(artifact_id)
        except ValueError:
            raise NotFound(f"{artifact_id[:80]!r} is no artifact id") from None
        rows = select(ArtifactRow).where(ArtifactRow.tenant == tenant, ArtifactRow.id == wanted)
        with guard_unavailable(), self._sessions() as session:
            row = session.scalar(rows)
        if row is None:
            raise NotFound(f"no artifact {wanted}", hint="its retention may have ended")
        return row

    def _write(self, path: Path, key: str) -> tuple[int, str]:
        """Copy the bytes in; their size and SHA-256 as written."""
        if self._is_local:
            Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._place(key)
        with _storage_errors(), path.open("rb") as source:
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            with self._files.open(place, "wb") as sink:
                return _copy(source, sink)

    def _download(self, row: ArtifactRow, path: Path) -> Path:
        _make_private(path.parent)
        handle, draft = tempfile.mkstemp(dir=path.parent)
        os.close(handle)
        try:
            with _storage_errors():
                self._files.get_file(self._place(row.url), draft)
            return _check(Path(draft), row).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)

    def _remove_bytes(self, key: str) -> None:
        with _storage_errors():
            if self._files.exists(self._place(key)):
                self._files.rm_file(self._place(key))

    def _place(self, key: str) -> str:
        return f"{self._root}/{key}"


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the artifact store: {error.strerror or error}") from error


def _make_private(folder: Path) -> None:
    """A folder that nobody else can change: copies are checked once and then read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise ConfigError(f"{folder}: belongs to or can be changed by others; remove it")


def _copy(source: BinaryIO, sink: BinaryIO) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    while block := source.read(_BLOCK_BYTES):
        digest.update(block)
        size_bytes += len(block)
        sink.write(block)
    return size_bytes, digest.hexdigest()


def _holds(path: Path, row: ArtifactRow) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest() == row.sha256


def _check(path: Path, row: ArtifactRow) -> Path:
    if not path.is_file():
        raise NotFound(f"the bytes of artifact {row.id} are not in the store")
    if not _holds(path, row):
        raise Conflict(f"artifact {row.id} was altered in the store: its SHA-256 differs")
    return path


def _plain_name(name: str) -> str:
    """The last part of a name, printable and short: for people, never used as a path."""
    plain = "".join(char for char in re.split(r"[/\\]", name)[-1] if char.isprintable())
    return plain[:_MAX_NAME_CHARS].strip(" .") or "artifact"
