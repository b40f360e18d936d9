import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from arcfusion.core import store
from arcfusion.experiments import registry
from arcfusion.experiments.tables import Run

TABLES = {
    "protocol",
    "run",
    "metric",
    "gate_record",
    "artifact",
    "comparison",
    "insight",
    "hypothesis",
}


@pytest.mark.sqlite  # on Postgres every whole number has 64 bits
def test_the_migration_makes_exactly_the_tables_of_the_metadata(lab):
    def is_ours(item, name, kind, _reflected, _other):
        return (name if kind == "table" else item.table.name) in TABLES

    engine = store.open_engine(lab.home)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": is_ours, "compare_type": True}
        )
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()
    assert set(SQLModel.metadata.tables) >= TABLES


@pytest.mark.sqlite  # reads the pragma
def test_every_column_is_text_integer_or_real(lab):
    allowed = {"VARCHAR", "INTEGER", "FLOAT"}
    with lab.reader() as connection:
        for table in TABLES:
            found = {row["type"] for row in connection.execute(f"PRAGMA table_info({table})")}
            assert found, table
            assert found <= allowed, table


def test_the_database_itself_refuses_a_second_run_of_one_identity(lab):
    lab.add_run("mha", 0)
    with pytest.raises(IntegrityError, match=r"(?i)unique"), lab.session() as session:
        session.add(
            Run(
                id="run-other",
                name="other",
                fingerprint="fp-mha",
                protocol_key=lab.key,
                seed=0,
                harness_version="1",
                created_at=1.0,
            )
        )


def test_a_metric_without_its_run_is_refused(lab):
    with lab.reader() as connection, pytest.raises(Exception, match=r"(?i)foreign key"):
        connection.execute("INSERT INTO metric VALUES ('run-none', 'bits_per_byte', 1.0, 'b')")


def test_run_ids_follow_from_the_identity_alone(lab):
    assert lab.add_run("mha", 3) == registry.run_id_of("fp-mha", lab.key, 3)
