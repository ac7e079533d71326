"""What a worker process needs to run steps, built once."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings
from app.parts import Parts
from app.publish import Publisher
from app.store.artifacts import ArtifactStore
from app.store.db import make_sessions
from app.store.ledger import Ledger
from app.store.step_secrets import StepSecrets
from tasks.live_output import LiveOutput
from tasks.runners.base import Runner
from tasks.runners.table import make_runners
from tasks.running import RunningSteps
from tool_catalog.loader import Catalog
from tool_catalog.model import CatalogError

OPERATIONS = "tasks.operations"


@dataclass(frozen=True, slots=True)
class Workshop:
    """Runners, operations and stores of one worker process; knows nothing of Celery."""

    worker: str
    queues: tuple[str, ...]
    settings: Settings
    catalog: Catalog
    ledger: Ledger
    publisher: Publisher
    sessions: sessionmaker[Session]
    secrets: StepSecrets
    artifacts: ArtifactStore
    runners: Mapping[str, Runner]
    #: "module:function" of the catalogue to the function.
    operations: dict[str, Callable[..., Any]]
    running: RunningSteps
    live_output: LiveOutput


def build_workshop(parts: Parts, worker: str, queues: tuple[str, ...]) -> Workshop:
    """Build it from the process's parts; imports every Python operation of the catalogue."""
    settings = parts.settings
    return Workshop(
        worker=worker,
        queues=queues,
        settings=settings,
        catalog=parts.catalog,
        ledger=parts.ledger,
        publisher=parts.publisher,
        sessions=make_sessions(parts.engine),
        secrets=StepSecrets(parts.autocommit, parts.vault),
        artifacts=parts.artifacts,
        runners=make_runners(settings),
        operations=find_operations(parts.catalog),
        running=RunningSteps(parts.ledger, worker, settings.self_kill_s),
        live_output=LiveOutput(parts.engine),
    )


def find_operations(catalog: Catalog) -> dict[str, Callable[..., Any]]:
    """Every Python function that the catalogue names; CatalogError when one is not there."""
    return dict(_import_operations(catalog))


def _import_operations(catalog: Catalog) -> Iterator[tuple[str, Callable[..., Any]]]:
    for tool in catalog.tools.values():
        for operation in tool.operations.values():
            if operation.python is None:
                continue
            module, function = operation.python.split(":")
            try:
                yield (
                    operation.python,
                    getattr(importlib.import_module(f"{OPERATIONS}.{module}"), function),
                )
            except (ImportError, AttributeError) as error:
                raise CatalogError(
                    f"{tool.name}.{operation.name}: no python {operation.python!r}: {error}"
                ) from error
