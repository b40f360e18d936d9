"""What every test may rely on, however the suite was started."""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.home import Home

LIBC = ctypes.CDLL(None)

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


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """Give SIGINT its usual meaning here and in child processes.

    A shell starts its background jobs with SIGINT ignored, and Python then installs no handler.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def find_program(name: str) -> str | None:
    """Return the newest installed one: Debian does not put a server's programs into PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    places = sorted(found, key=lambda place: float(place.parent.name), reverse=True)
    return shutil.which(name) or shutil.which(name, path=":".join(map(str, places)))


class PostgresServer:
    """A server of this process alone, which ends with it, and databases that hold a new lab."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._made = 0
        self._free: list[str] = []
        self._user: dict[str, int] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            account = names.get("postgres") or names["nobody"]
            os.chown(directory, account.pw_uid, account.pw_gid)
            self._user = {"user": account.pw_uid, "group": account.pw_gid}
        data = str(directory / "data")
        program = find_program("initdb")
        assert program is not None
        words = [program, "-D", data, "-A", "trust", "-U", "lab", "-N", "-E", "UTF8"]
        words.append("--locale=C.UTF-8")
        self._copy = " STRATEGY file_copy"
        try:
            # Another order of text than SQLite's, which the lab's columns must not take over.
            self._call([*words, "--locale-provider=icu", "--icu-locale=en"])
        except subprocess.CalledProcessError:  # before Postgres 15
            self._call(words)
            self._copy = ""
        self.start()

    def make_template(self) -> None:
        """Make the lab that `lend` copies."""
        (self.directory / "template").mkdir()
        self.execute("CREATE DATABASE template_lab")
        store.create(Home(self.directory / "template", self.url("template_lab")))

    def start(self) -> None:
        program = find_program("postgres")
        assert program is not None
        directory, data = self.directory, str(self.directory / "data")
        options = ("listen_addresses=", f"unix_socket_directories={directory}", *SERVER_OPTIONS)
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-D", data, *(word for option in options for word in ("-c", option))],
                cwd=directory,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # no thread runs at this point
                **self._user,
            )
        self._wait()

    def _call(self, words: list[str]) -> None:
        subprocess.run(
            words, cwd=self.directory, check=True, capture_output=True, timeout=60, **self._user
        )

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def url(self, database: str = "postgres", options: str = "") -> str:
        return f"postgresql+psycopg://lab@/{database}?host={self.directory}{options}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        import psycopg

        url = self.url(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.encode())

    def lend(self) -> str:
        """Return the name of a database with the newest schema and nothing in it."""
        if self._free:
            return self._free.pop()
        self._made += 1
        name = f"lab{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_lab{self._copy}")
        return name

    def take_back(self, database: str) -> None:
        """Empty the database for the next test: a copy for each has hundreds of files."""
        self.execute(EMPTY, database)
        self._free.append(database)

    def stop(self) -> None:
        """End it at once, as a crash does: the next start reads the log."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


def _die_with_parent() -> None:
    """A killed test run must not leave its server behind: PR_SET_PDEATHSIG."""
    LIBC.prctl(1, signal.SIGQUIT)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    directory = Path(tempfile.mkdtemp(prefix="arcfusion-pg-"))
    try:
        try:
            server = PostgresServer(directory)
        except (OSError, subprocess.SubprocessError, AssertionError) as error:
            pytest.skip(f"Postgres tests: the server does not start: {error}")
        server.make_template()
        yield server
        server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def missing_for_postgres() -> str | None:
    """Return what is not installed here, if anything."""
    if find_spec("psycopg") is None:
        return "psycopg"
    return None if find_program("initdb") else "a Postgres server"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a Postgres that is not here: one line says so, not one for each test."""
    if missing_for_postgres() is None:
        return
    left_out = [item for item in items if isinstance(item, pytest.Function) and _needs(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _needs(test: pytest.Function) -> bool:
    parameters = test.callspec.params if hasattr(test, "callspec") else {}
    return "postgres_server" in test.fixturenames or parameters.get("database") == "postgres"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = missing_for_postgres()
    if missing is not None:
        terminalreporter.write_line(f"The tests on Postgres were left out: {missing} is missing.")


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
