"""What every test may rely on, however the suite was started."""

import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnContext
from pathlib import Path

import pytest

from arcfusion.agents.bench.postgres_server import PostgresServer, ServerUnavailableError
from arcfusion.agents.bench.postgres_server import missing as postgres_server_missing
from arcfusion.core import store
from arcfusion.core.home import Home

# Durability is not what these servers are for; the crash of a real one is `fsync=on`.
SERVER_OPTIONS = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=120")

# A process that a test left behind must not write into the next one's lab. Without the foreign
# keys' triggers the order does not matter; TRUNCATE would take three times as long.
EMPTY = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
        AND tablename NOT IN ('lab_marker', 'alembic_version') LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END $$"""


@pytest.fixture
def spawn(monkeypatch: pytest.MonkeyPatch) -> SpawnContext:
    """Return a context whose processes can import the tests: by rule the root is on no path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """Give SIGINT its usual meaning here and in child processes.

    A shell starts its background jobs with SIGINT ignored, and Python then installs no handler.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


class LabServer(PostgresServer):
    """A server with databases that hold a new lab, lent to one test after the other."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SERVER_OPTIONS)
        self._made = 0
        self._free: list[str] = []

    def make_template(self) -> None:
        """Make the lab that `lend` copies."""
        (self.directory / "template").mkdir()
        self.execute("CREATE DATABASE template_lab")
        store.create(Home(self.directory / "template", self.url("template_lab")))

    def lend(self) -> str:
        """Return the name of a database with the newest schema and nothing in it."""
        if self._free:
            return self._free.pop()
        self._made += 1
        name = f"lab{self._made}"
        # The other way to copy, through the log, takes three times as long.
        strategy = " STRATEGY file_copy" if self.is_icu else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_lab{strategy}")
        return name

    def take_back(self, database: str) -> None:
        """Empty the database for the next test: a copy for each has hundreds of files."""
        self.execute(EMPTY, database)
        self._free.append(database)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LabServer]:
    directory = Path(tempfile.mkdtemp(prefix="arcfusion-pg-"))
    try:
        try:
            server = LabServer(directory)
        except ServerUnavailableError as error:
            pytest.skip(f"Postgres tests: the server does not start: {error}")
        server.make_template()
        yield server
        server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a Postgres that is not here: one line says so, not one for each test."""
    if postgres_server_missing() is None:
        return
    left_out = [item for item in items if isinstance(item, pytest.Function) and _needs(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _needs(test: pytest.Function) -> bool:
    parameters = test.callspec.params if hasattr(test, "callspec") else {}
    return "postgres_server" in test.fixturenames or parameters.get("database") == "postgres"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lacking = postgres_server_missing()
    if lacking is not None:
        terminalreporter.write_line(f"The tests on Postgres were left out: {lacking} is missing.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a lab on both databases, unless it is about one of them."""
    if "database" in metafunc.fixturenames:
        both = ("sqlite", "postgres")
        kinds = [kind for kind in both if metafunc.definition.get_closest_marker(kind)]
        metafunc.parametrize("database", kinds or both, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def on_database(request: pytest.FixtureRequest, database: str) -> Iterator[Callable[[Home], Home]]:
    """Put the lab on the test's database: it holds a SQLite file, which Postgres replaces."""
    lent: dict[Path, str] = {}

    def place(home: Home) -> Home:
        if database == "sqlite":
            return home
        home.db_path.unlink()
        server = request.getfixturevalue("postgres_server")
        for other in [path for path in lent if path == home.path or not path.exists()]:
            server.take_back(lent.pop(other))
        lent[home.path] = server.lend()
        url = server.url(lent[home.path])
        # Commands that run in the lab's directory find it so.
        (home.workspace_path / ".env").write_text(f"ARCFUSION_DB='{url}'\n")
        home.remote_path.write_text("elsewhere\n")
        return Home(home.path, url)

    yield place
    for name in lent.values():
        request.getfixturevalue("postgres_server").take_back(name)
