"""Secrets for a running step: the ledger hands them to the step's present holder only."""

from typing import Any

from sqlalchemy import Engine, text

from app.errors import StepError
from app.step import Credential, Secret, Step
from app.store.credentials import Vault
from app.store.db import guard_unavailable
from tool_catalog.model import Reason


class StepSecrets:
    """Reads sealed columns through `get_secret` and `get_credential`, opens them here."""

    def __init__(self, autocommit: Engine, vault: Vault) -> None:
        self._engine = autocommit
        self._vault = vault

    def open_secret(self, step: Step, name: str) -> Secret:
        """A secret that the step names; raises StepError when it is gone or not granted."""
        row = self._read("select * from get_secret(:id, :token, :name)", step, name=name)
        if row is None:
            raise StepError(Reason.NOT_FOUND, f"the secret {name!r} is gone, or not this step's")
        return self._vault.open_secret(row)

    def open_credential(self, step: Step, name: str | None = None) -> Credential | None:
        """The login of the step's asset that `Vault.credential_for` gives, or the one named.

        None when it has none.
        """
        row = self._read("select * from get_credential(:id, :token, :name)", step, name=name)
        return self._vault.open_credential(row) if row else None

    def _read(self, query: str, step: Step, **values: str | None) -> Any:  # noqa: ANN401  # a row
        bound = {"id": step.id, "token": step.token, **values}
        with guard_unavailable(), self._engine.connect() as connection:
            return connection.execute(text(query), bound).first()
