"""A Postgres server of this process alone, for proofs and tests: a directory, a socket, no network.

It ends with the process, even when that is killed. Programs of Debian's package are found too.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_S = 30.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class ServerUnavailableError(Exception):
    """The server does not start here; the text says why."""


class PostgresServer:
    """A running server.

    Args:
        directory: an empty one, which the server's account gets when this process is root's.
        options: settings beside the defaults, `name=value`.

    Raises:
        ServerUnavailableError: it does not start.
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.options = ("listen_addresses=", f"unix_socket_directories={directory}", *options)
        self._account = _server_account(directory)
        self.is_icu = True
        words = ["-D", str(directory / "data"), "-A", "trust", "-U", "lab", "-N", "-E", "UTF8"]
        words.append("--locale=C.UTF-8")
        try:
            # Another order of text than SQLite's, which the lab's columns must not take over.
            self._initialise([*words, "--locale-provider=icu", "--icu-locale=en"])
        except ServerUnavailableError:  # before Postgres 15
            self.is_icu = False
            self._initialise(words)
        self.start()

    def url(self, database: str = "postgres", options: str = "") -> str:
        """Return what `ARCFUSION_DB` would say."""
        return f"postgresql+psycopg://lab@/{database}?host={self.directory}{options}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run statements, each committed by itself."""
        import psycopg

        url = self.url(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.encode())

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            ServerUnavailableError: it does not.
        """
        data = str(self.directory / "data")
        words = [word for option in self.options for word in ("-c", option)]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", data, *words],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # it calls one function of libc
                user=self._account,
            )
        self._wait()

    def stop(self) -> None:
        """End it at once, as a crash does: the next start replays its log."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(START_S)

    def _initialise(self, words: Sequence[str]) -> None:
        try:
            subprocess.run(
                [_program("initdb"), *words],
                cwd=self.directory,
                check=True,
                capture_output=True,
                timeout=120,
                user=self._account,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerUnavailableError(f"initdb failed: {error}") from error

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + START_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise ServerUnavailableError(f"{error}: {log[-500:]}") from error
                time.sleep(0.02)
            else:
                return


def missing() -> str | None:
    """Return what is not installed here, if anything."""
    if find_spec("psycopg") is None:
        return "psycopg"
    return None if find_program("initdb") else "a Postgres server"


def find_program(name: str) -> str | None:
    """Return the newest installed one: Debian does not put a server's programs into PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    places = sorted(found, key=lambda place: float(place.parent.name), reverse=True)
    return shutil.which(name) or shutil.which(name, path=":".join(map(str, places)))


@contextmanager
def temporary_server(options: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """Run a server in a directory that goes away with it.

    Raises:
        ServerUnavailableError: it does not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="arcfusion-pg-"))
    try:
        server = PostgresServer(directory, options)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _program(name: str) -> str:
    path = find_program(name)
    if path is None:
        raise ServerUnavailableError(f"{name} is not installed")
    return path


def _server_account(directory: Path) -> int | None:
    """Return whose process it is: the server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = known.get("postgres") or known["nobody"]
    os.chown(directory, account.pw_uid, account.pw_gid)
    return account.pw_uid


def _die_with_parent() -> None:
    """A killed proof must not leave its server behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
