"""Where a lab lives on disk: `.arcfusion/` in a working directory, or `$ARCFUSION_HOME`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from arcfusion.core.environment import database_url, describe_url, read_variable
from arcfusion.core.errors import HomeNotFoundError, HomeUnwritableError

DIRECTORY_NAME = ".arcfusion"
LOCK_NAME = "lab.lock"


@dataclass(frozen=True, slots=True)
class Home:
    """The lab's directory and what lies in it.

    Attributes:
        path: the directory.
        database: the URL of its Postgres database, which may hold a password; None is SQLite.
    """

    path: Path
    database: str | None = field(default=None, repr=False)

    @property
    def db_path(self) -> Path:
        """The one database, when it is SQLite."""
        return self.path / "lab.db"

    @property
    def database_name(self) -> str:
        """Where the database is, as it may be printed."""
        return str(self.db_path) if self.database is None else describe_url(self.database)

    @property
    def remote_path(self) -> Path:
        """The file that says that the database is not here, but at `ARCFUSION_DB`."""
        return self.path / "lab.remote"

    @property
    def lock_path(self) -> Path:
        """The file on which writers queue."""
        return self.path / LOCK_NAME

    @property
    def runs_path(self) -> Path:
        """One directory a run."""
        return self.path / "runs"

    @property
    def cache_path(self) -> Path:
        """Prepared data; may be deleted at any time."""
        return self.path / "cache"

    @property
    def workspace_path(self) -> Path:
        """The directory that the lab belongs to: the git repository that gets its branches."""
        return self.path.parent


def find_home(start: Path | None = None) -> Home:
    """Return the lab of this directory: `ARCFUSION_HOME`, else the nearest `.arcfusion/` upwards.

    Raises:
        HomeNotFoundError: there is none, `ARCFUSION_HOME` names a directory without one, or
            `ARCFUSION_DB` and the lab that was made here disagree on where its database is.
    """
    database = database_url()
    named = read_variable("ARCFUSION_HOME")
    if named is not None:
        home = Home(Path(named).expanduser().resolve(), database)
        if not _is_home(home):
            raise HomeNotFoundError(
                f"ARCFUSION_HOME is {named!r}, where there is no lab: run `arcfusion init`"
            )
        return _checked(home)
    directory = (start or Path.cwd()).resolve()
    for candidate in (directory, *directory.parents):
        home = Home(candidate / DIRECTORY_NAME, database)
        if _is_home(home):
            return _checked(home)
    raise HomeNotFoundError(
        f"no lab in {str(directory)!r} or above it: run `arcfusion init` where it should be"
    )


def _is_home(home: Home) -> bool:
    return home.db_path.is_file() or home.remote_path.is_file()


def _checked(home: Home) -> Home:
    """Refuse a lab whose database is somewhere else: two halves of one lab would be worse."""
    is_remote = home.remote_path.is_file()
    if is_remote and home.database is None:
        raise HomeNotFoundError(
            f"the lab in {str(home.path)!r} has its database at "
            f"{home.remote_path.read_text().strip()}: set ARCFUSION_DB"
        )
    if not is_remote and home.database is not None:
        raise HomeNotFoundError(
            f"the lab in {str(home.path)!r} has its own database, and ARCFUSION_DB names another: "
            "unset it, or run `arcfusion init` in the directory of the other lab"
        )
    return home


def new_home(workspace: Path, *, database: str | None = None) -> Home:
    """Make the lab's empty directories for `workspace`; `ARCFUSION_HOME` overrides the place.

    Args:
        workspace: the directory that the lab belongs to.
        database: the URL of a Postgres database; None is SQLite, whatever `ARCFUSION_DB` says, so
            that a demo or a bench never writes into the lab of others.

    Raises:
        HomeUnwritableError: a directory can not be made or written.
    """
    named = read_variable("ARCFUSION_HOME")
    home = Home(
        Path(named).expanduser().resolve() if named else workspace.resolve() / DIRECTORY_NAME,
        database,
    )
    try:
        for directory in (home.path, home.runs_path, home.cache_path):
            directory.mkdir(parents=True, exist_ok=True)
        (home.path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise HomeUnwritableError(
            f"can not write {str(home.path)!r} ({error.strerror}): "
            "name a directory you own with ARCFUSION_HOME"
        ) from error
    if not os.access(home.path, os.W_OK):
        raise HomeUnwritableError(f"can not write {str(home.path)!r}: it is read-only")
    return home
