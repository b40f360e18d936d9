"""This fails when the migrations and the tables of the code describe two different databases."""

import sqlite3
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from arcfusion.agents import tables as agents_tables
from arcfusion.core import lab_file, store
from arcfusion.core.home import new_home
from arcfusion.core.library import tables as core_tables
from arcfusion.experiments import tables as experiments_tables
from arcfusion.issues import tables as issues_tables

OWNERS = (agents_tables, core_tables, experiments_tables, issues_tables)


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    store.create(home)
    assert all(owner.__name__.startswith("arcfusion.") for owner in OWNERS)
    engine = store.open_engine(home)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_fresh_database_is_durable_and_marked(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    store.create(home)
    connection = store.connect(home)
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()
    raw = sqlite3.connect(home.db_path)
    assert raw.execute("PRAGMA application_id").fetchone()[0] == lab_file.APPLICATION_ID
    raw.close()
