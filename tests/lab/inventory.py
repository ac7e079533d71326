"""The asset tools against a real inventory, as a worker calls them: checked, in one transaction."""

import importlib
from functools import cache
from uuid import UUID

from sqlalchemy import text

from app.store.db import make_sessions
from tool_catalog.loader import load_catalog
from tool_catalog.params import check_parameters

EXECUTION = UUID("01920000-0000-7000-8000-000000000001")


@cache
def catalog():
    return load_catalog()


class AssetBench:
    """`bench.run("asset-create", hostname="web-01")` gives the StepResult or raises StepError."""

    def __init__(self, engine, tenant="default"):
        self.engine = engine
        self._sessions = make_sessions(engine)
        self._tenant = tenant

    def run(self, tool, **parameters):
        operation = catalog().operation(catalog().find(tool), None)
        values, faults = check_parameters(operation, parameters)
        assert faults == [], faults
        module, _, function = operation.python.partition(":")
        run = getattr(importlib.import_module(f"tasks.operations.{module}"), function)
        with self._sessions.begin() as session:
            session.info.update(tenant=self._tenant, actor="ada", execution_id=EXECUTION, step_id=7)
            return run(session, values)

    def faults(self, tool, **parameters):
        """(path, code) of each fault of the parameters."""
        operation = catalog().operation(catalog().find(tool), None)
        return [(fault.path, fault.code) for fault in check_parameters(operation, parameters)[1]]

    def rows(self, query):
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query)).mappings()]
