"""Alembic's entry: run the steps in the open transaction of `core.store.migrate`."""

from alembic import context


def run() -> None:
    """Apply the pending steps on either database."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


run()
