"""Alembic's entry: runs on the connection that `app.store.db.migrate` hands over."""

from alembic import context

from app.store.step_models import StepRow

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=StepRow.metadata,
    transactional_ddl=True,
)
context.run_migrations()
