"""Tool files read anew while a process runs: all of them at once, or, where one is bad, none."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from app.errors import ConfigError, Conflict, Unavailable
from app.parts import Parts, check_policy, read_catalog
from app.store.db import guard_unavailable, make_engine
from app.store.listener import Listener
from tool_catalog.loader import Catalog, read_digest
from tool_catalog.model import CatalogError

#: Where a reload is told; the payload is the digest of the catalogue of whoever was asked for it.
CHANNEL = "opsfarm_tools"
_RECONNECT_S = 1.0
_log = logging.getLogger(__name__)

#: Called with a catalogue before it is taken; raises CatalogError where it cannot be served here.
Prepare = Callable[[Catalog], None]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What reading anew changed, by tools' names."""

    digest: str
    tools: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def reload_tools(parts: Parts, prepare: Prepare = lambda _catalog: None) -> Reloaded:
    """Read the tool files of this host and take them; raises CatalogError, and nothing changed."""
    new, old = read_catalog(parts.settings), parts.catalog.tools
    try:
        check_policy(parts.rules.policy, new, parts.settings)
    except ConfigError as error:
        raise CatalogError(str(error)) from None
    prepare(new)
    parts.catalog.take_over(new)
    return Reloaded(
        digest=new.digest,
        tools=len(new.tools),
        added=tuple(name for name in new.tools if name not in old),
        changed=tuple(
            name
            for name, tool in new.tools.items()
            if name in old and old[name].digest != tool.digest
        ),
        removed=tuple(name for name in old if name not in new.tools),
    )


def reload_farm(parts: Parts) -> Reloaded:
    """Take the tool files here and tell every process to; raises Conflict where one is bad."""
    try:
        done = reload_tools(parts)
    except (CatalogError, OSError) as error:
        hint = "mend it and reload again; 'opsfarm tools check' reads the files where you are"
        raise Conflict(f"nothing was taken in: {error}", hint=hint) from None
    with guard_unavailable(), parts.autocommit.connect() as connection:
        notice = {"channel": CHANNEL, "digest": done.digest}
        connection.execute(text("select pg_notify(:channel, :digest)"), notice)
    return done


class ToolWatch:
    """Takes tool files in when that is told, in a thread of its own."""

    def __init__(self, parts: Parts, prepare: Prepare = lambda _catalog: None) -> None:
        self._parts = parts
        self._prepare = prepare
        self._listener: Listener | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tools", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        with self._lock:
            if self._listener is not None:
                self._listener.wake()
        self._thread.join()

    def _run(self) -> None:
        # A connection of its own: it is held for as long as the process lives.
        engine = make_engine(self._parts.settings.database_url, pool_size=1, name="tools")
        while not self._stopped.is_set():
            try:
                with Listener(engine, CHANNEL) as listener:
                    self._serve(listener)
            except Unavailable:
                self._stopped.wait(_RECONNECT_S)
        engine.dispose()

    def _serve(self, listener: Listener) -> None:
        with self._lock:
            self._listener = listener
        try:
            self._catch_up()
            while not self._stopped.is_set():
                for digest in listener.wait(None)[-1:]:
                    self._take(digest)
        finally:
            with self._lock:
                self._listener = None

    def _catch_up(self) -> None:
        """What was told since the files were read, while nobody listened, was missed."""
        try:
            now = read_digest(self._parts.settings.tool_path)
        except (CatalogError, OSError) as error:
            _log.error("the tools stay as they were: %s", error)
            return
        if now != self._parts.catalog.digest:
            self._take(None)

    def _take(self, wanted: str | None) -> None:
        if wanted == self._parts.catalog.digest:
            return  # this is the process that was asked
        try:
            done = reload_tools(self._parts, self._prepare)
        except (CatalogError, OSError) as error:
            _log.error("the tools stay as they were: %s", error)
            return
        _log.info("tools were read anew: %s", done.digest[:12])
        if wanted not in {None, done.digest}:
            _log.warning("the tool files of this host differ from those that were reloaded")
