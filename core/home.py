"""Where a lab lives on disk: `.arcfusion/` in a working directory, or `$ARCFUSION_HOME`."""

import os
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core.environment import read_variable
from arcfusion.core.errors import HomeNotFoundError, HomeUnwritableError

DIRECTORY_NAME = ".arcfusion"
LOCK_NAME = "lab.lock"


@dataclass(frozen=True, slots=True)
class Home:
    """The lab's directory and what lies in it."""

    path: Path

    @property
    def db_path(self) -> Path:
        """The one database."""
        return self.path / "lab.db"

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
        HomeNotFoundError: there is none, or `ARCFUSION_HOME` names a directory without one.
    """
    named = read_variable("ARCFUSION_HOME")
    if named is not None:
        home = Home(Path(named).expanduser().resolve())
        if not home.db_path.is_file():
            raise HomeNotFoundError(
                f"ARCFUSION_HOME is {named!r}, where there is no lab: run `arcfusion init`"
            )
        return home
    directory = (start or Path.cwd()).resolve()
    for candidate in (directory, *directory.parents):
        home = Home(candidate / DIRECTORY_NAME)
        if home.db_path.is_file():
            return home
    raise HomeNotFoundError(
        f"no lab in {str(directory)!r} or above it: run `arcfusion init` where it should be"
    )


def new_home(workspace: Path) -> Home:
    """Make the lab's empty directories for `workspace`; `ARCFUSION_HOME` overrides the place.

    Raises:
        HomeUnwritableError: a directory can not be made or written.
    """
    named = read_variable("ARCFUSION_HOME")
    home = Home(
        Path(named).expanduser().resolve() if named else workspace.resolve() / DIRECTORY_NAME
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
