"""Alembic's entry: run the steps on the database of `core.store.upgrade`, in one transaction."""

from alembic import context
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool


def run() -> None:
    """Apply the pending steps; a step that fails leaves the schema as it was."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _autocommit(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # a sqlite3 connection

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]  # a Connection

    with engine.connect() as connection:
        context.configure(connection=connection, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()


run()
