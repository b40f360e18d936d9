import sqlite3
from contextlib import closing

import pytest
from sqlmodel import SQLModel, create_engine

from arcfusion.core import store
from arcfusion.issues import tables
from arcfusion.issues.claims import next_sql
from arcfusion.issues.draft import Draft, Offer
from arcfusion.issues.fit import Filter
from arcfusion.issues.reading import ready_sql

TABLES = [
    model.__tablename__
    for model in (
        tables.Issue,
        tables.Label,
        tables.Dependency,
        tables.Lease,
        tables.Capacity,
        tables.Attempt,
        tables.Event,
        tables.Comment,
        tables.Memory,
    )
]
FILTERS = [
    Filter(),
    Filter(labels=("a", "b"), exclude_labels=("c",)),
    Filter(offer=Offer(gpus=1, skills=("x", "y"))),
]


def read_schema(connection: sqlite3.Connection) -> dict[str, list[str]]:
    rows = connection.execute(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    ).fetchall()
    return {name: split_definition(sql) for name, table, sql in rows if table in TABLES}


def split_definition(sql: str) -> list[str]:
    """The parts of a CREATE statement; a later ALTER TABLE adds its column behind the others."""
    start, _, body = sql.partition("(")
    parts, depth = [""], 0
    for letter in body[: body.rindex(")")]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [
        start.strip(),
        *sorted(" ".join(part.split()) for part in parts),
        body.rpartition(")")[2],
    ]


@pytest.mark.sqlite  # compares the text that SQLite keeps of each table
def test_the_migration_makes_the_tables_of_the_models(lab, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables[t] for t in TABLES])
    engine.dispose()
    with (
        closing(store.connect(lab)) as migrated,
        closing(sqlite3.connect(tmp_path / "models.db")) as models,
    ):
        expected = read_schema(models)
        assert set(TABLES) <= set(expected)
        assert read_schema(migrated) == expected


@pytest.mark.sqlite  # reads its query plan
@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("make", [next_sql, ready_sql])
def test_ready_reads_the_partial_index_in_its_order(lab, wanted, make):
    condition, values = wanted.condition()
    sql = make(condition)
    parameters = [0.0, *values, *([10] if make is ready_sql else [])]
    with closing(store.connect(lab)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    steps = [row["detail"] for row in rows]
    assert "ix_issue_ready" in steps[0]
    assert not any("TEMP B-TREE" in step for step in steps)
    assert not any(step.startswith("SCAN label") for step in steps)


def test_the_database_keeps_the_invariants_of_a_row(lab, queue):
    issue_id = queue.create(Draft(title="x")).id
    with closing(store.connect(lab)) as connection:
        for change in ("status = 'closed'", "outcome = 'done'", "priority = 5", "blocked_by = -1"):
            with pytest.raises(Exception, match="constraint") as caught:
                connection.execute(f"UPDATE issue SET {change} WHERE id = ?", (issue_id,))
            assert "IntegrityError" in [kind.__name__ for kind in type(caught.value).__mro__]


def test_other_folders_read_the_rows_as_models(lab, queue):
    issue_id = queue.create(Draft(title="x", metadata={"a": 1})).id
    with store.session(lab) as session:
        row = session.get(tables.Issue, issue_id)
        assert row is not None
        assert (row.title, row.metadata_json, row.created_at) == ("x", '{"a": 1}', 1.7e9)
