"""This fails when a lab on Postgres is opened wrongly, or a refusal of it says too much."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from arcfusion.agents import doctor
from arcfusion.core import store
from arcfusion.core.environment import describe_url
from arcfusion.core.errors import (
    ArcFusionError,
    BadInputError,
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseUnreachableError,
    ForeignDatabaseError,
    HomeNotFoundError,
    UnavailableError,
)
from arcfusion.core.home import find_home, new_home
from arcfusion.core.postgres.connection import PostgresConnection, explained, translate
from arcfusion.core.postgres.login import open_raw

ARCFUSION = Path(sys.executable).with_name("arcfusion")


@pytest.fixture
def url(postgres_server):
    """An empty schema of its own: labs share a database by their search path."""
    name = f"s{os.urandom(4).hex()}"
    postgres_server.execute(f"CREATE SCHEMA {name}")
    yield postgres_server.url(options=f"&options=-csearch_path%3D{name}")
    postgres_server.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def home(url, tmp_path, monkeypatch):
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    return new_home(tmp_path, database=url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5/d?sslmode=x&password=secret", "postgresql://u@h:5/d"),
        ("postgresql+psycopg://u:se@cr/et@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("host=h password=secret", "ARCFUSION_DB"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert describe_url(url) == shown


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ?, ? || '?' || \"a?\"", "SELECT $1, $2 || '?' || \"a?\""),
        ("SELECT ?2, ?1, '50%', 'it''s ?'", "SELECT $2, $1, '50%', 'it''s ?'"),
    ],
)
def test_marks_become_numbers_outside_of_quotes(sql, expected):
    assert translate(sql) == expected


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("mysql://u:secret@h/d", BadInputError, "ARCFUSION_DB is postgresql"),
        ("sqlite:///lab.db", BadInputError, "or nothing for SQLite"),
        ("postgresql://u:sec%zzret@h/d", BadInputError, "quote special characters"),
        ("postgresql://u:se@cret@h/d", BadInputError, "its host is not known"),
        ("postgresql://u:secret@127.0.0.1:1/d", DatabaseUnreachableError, "try again"),
        ("postgresql://u:secret@/d?host=/nowhere", DatabaseUnreachableError, "try again"),
    ],
)
def test_what_can_not_be_opened_is_one_line_without_the_password(url, kind, message, tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(kind, match=message) as caught:
        store.connect(new_home(tmp_path, database=url))
    text = str(caught.value)
    assert "\n" not in text
    assert not any(part in text for part in ("secret", "sec%zzret", "cret@"))
    assert caught.value.exit_code == (4 if caught.value.retryable else 2)
    assert not (tmp_path / ".arcfusion" / "lab.db").exists()


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("DeadlockDetected", DatabaseBusyError, 4),
        ("SerializationFailure", DatabaseBusyError, 4),
        ("LockNotAvailable", DatabaseBusyError, 4),
        ("TooManyConnections", DatabaseBusyError, 4),
        ("DiskFull", DatabaseFullError, 1),
        ("AdminShutdown", DatabaseUnreachableError, 4),
        ("IdleInTransactionSessionTimeout", DatabaseUnreachableError, 4),
        ("OperationalError", DatabaseUnreachableError, 4),
    ],
)
def test_what_the_server_could_not_do_says_whether_to_try_again(name, kind, code):
    errors = pytest.importorskip("psycopg.errors")
    with pytest.raises(kind) as caught, explained("postgresql://u:secret@h/d"):
        raise getattr(errors, name)("the server's words")
    assert "the server's words" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (caught.value.exit_code, caught.value.retryable) == (code, code == 4)


def test_a_broken_constraint_stays_what_it_is():
    errors = pytest.importorskip("psycopg.errors")
    with pytest.raises(errors.CheckViolation), explained("postgresql://h/d"):
        raise errors.CheckViolation


def test_a_database_that_is_not_there_is_named(postgres_server, tmp_path):
    with pytest.raises(BadInputError, match='"nothing" does not exist') as caught:
        store.create(new_home(tmp_path, database=postgres_server.url("nothing")))
    assert (caught.value.exit_code, caught.value.retryable) == (2, False)


def test_without_the_driver_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnavailableError, match=r"arcfusion\[postgres\]"):
        store.connect(new_home(tmp_path, database="postgresql://h/d"))


def test_an_empty_schema_is_no_lab_until_it_is_made(home):
    with pytest.raises(HomeNotFoundError, match=r"no lab in .*: run `arcfusion init`"):
        store.connect(home)
    store.create(home)
    store.create(home)
    with closing(store.connect(home)) as connection:
        assert connection.execute("SELECT count(*) FROM issue").fetchone()[0] == 0
    assert not home.db_path.exists()


def test_two_that_make_the_lab_at_once_make_one(home):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.migrate(home), range(4)))
    store.connect(home).close()


def test_what_belongs_to_somebody_else_is_refused_and_left_as_it_is(home, url):
    with open_raw(url) as raw:
        raw.execute("CREATE TABLE invoice (id INT)")
    for refused in (store.create, store.connect, store.migrate):
        with pytest.raises(ForeignDatabaseError, match="is not a lab's database"):
            refused(home)
    with closing(PostgresConnection(url)) as connection:
        assert connection.count_tables() == 1


@pytest.mark.parametrize(
    ("version", "advice"), [("0001", "run `arcfusion upgrade`"), ("9999", "a newer ArcFusion")]
)
def test_another_schema_version_is_refused(home, url, version, advice):
    store.create(home)
    with open_raw(url) as raw:
        raw.execute("UPDATE alembic_version SET version_num = $1", (version,))
    for refused in (store.create, store.connect):
        with pytest.raises(ForeignDatabaseError, match=f"has schema {version}, .*{advice}"):
            refused(home)


def test_a_search_path_to_nowhere_is_refused(postgres_server, tmp_path):
    url = postgres_server.url(options="&options=-csearch_path%3Dnowhere")
    with pytest.raises(BadInputError, match="search_path names no schema"):
        store.create(new_home(tmp_path, database=url))


def test_large_numbers_sums_and_names_are_those_of_sqlite(home):
    store.create(home)
    with closing(store.connect(home)) as connection:
        sql = "SELECT ?1 + 1 AS a, sum(x) AS b FROM (VALUES (?1)) v(x)"
        found = connection.execute(sql, (2**40,)).fetchone()
        assert (found["a"], found[1], isinstance(found["b"], int)) == (2**40 + 1, 2**40, True)
        assert dict(found) == {"a": 2**40 + 1, "b": 2**40}
        kinds = connection.execute(
            "SELECT DISTINCT data_type FROM information_schema.columns"
            " WHERE table_schema = current_schema()"
        ).fetchall()
        assert {kind for (kind,) in kinds} == {"bigint", "double precision", "text"}
        collations = connection.execute(
            "SELECT DISTINCT collation_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND data_type = 'text'"
        ).fetchall()
        assert [name for (name,) in collations] == ["C"]


def test_a_session_takes_the_structural_lock_and_keeps_what_it_wrote(home):
    from arcfusion.core.library.tables import Paper

    store.create(home)
    with closing(store.connect(home)) as other:
        other.execute("SET lock_timeout = '200ms'")
        with store.session(home) as session:
            session.add(Paper(id="p", citation="c", year=2**31 + 5))
            with pytest.raises(ArcFusionError) as caught, store.write(other):
                pass
            assert caught.value.exit_code == 4
        assert other.execute("SELECT year FROM paper").fetchone()[0] == 2**31 + 5


def test_a_lab_remembers_that_its_database_is_elsewhere(home, url, monkeypatch):
    monkeypatch.chdir(home.workspace_path)
    monkeypatch.setenv("ARCFUSION_DB", url)
    store.create(home)
    assert find_home() == home
    monkeypatch.delenv("ARCFUSION_DB")
    with pytest.raises(HomeNotFoundError, match="set ARCFUSION_DB"):
        find_home()


def test_a_lab_on_sqlite_is_not_mixed_with_another_database(tmp_path, monkeypatch):
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    home = new_home(tmp_path)
    store.create(home)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCFUSION_DB", "postgresql://h/d")
    with pytest.raises(HomeNotFoundError, match="has its own database"):
        find_home()


def test_the_command_line_makes_works_and_shows_the_lab(url, tmp_path, monkeypatch):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(ARCFUSION), *words],
            cwd=tmp_path, env=environment | {"ARCFUSION_DB": url}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    run("issue", "list", code=2)
    assert json.loads(run("init", "--json"))["data"]["database"] == describe_url(url)
    run("issue", "create", "One")
    assert json.loads(run("issue", "claim", "--json"))["data"]["title"] == "One"
    assert "rebuild 1 issues" in run("issue", "verify")
    run("leaderboard")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCFUSION_DB", url)
    assert f"Postgres database {describe_url(url)} has fsync off" in doctor._lab().detail
    assert not (tmp_path / ".arcfusion" / "lab.db").exists()
