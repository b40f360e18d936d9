"""Makes a run's directory: everything the run needs, complete or not there at all."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from arcfusion.core.data.dataset import META_FILE, TRAIN_FILE, VALIDATION_FILE, Prepared
from arcfusion.core.errors import BadInputError
from arcfusion.core.sandbox.launcher import package_root
from arcfusion.experiments.runner.request import (
    ARCHIVE_FILE,
    MODEL_FILE,
    RUN_FILE,
    WORK_DIRECTORY,
    RunRequest,
    read_request,
)

# The part of the package that travels: standard library, numpy, torch and safetensors suffice.
ARCHIVED_FILES = ("core/__init__", "core/errors", "core/metric", "core/model_file",
                  "experiments/__init__")  # fmt: skip
ARCHIVED_FOLDERS = ("core/data", "core/training", "core/sandbox", "experiments/runner")
_MAIN = (
    "import sys\n\nfrom arcfusion.experiments.runner.entry import main\n\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
# a fixed date: the same source makes the same bytes
_DATE = (2000, 1, 1, 0, 0, 0)


class ForeignRunError(BadInputError):
    """The directory holds another run."""


def create_run_directory(
    path: Path, request: RunRequest, model_source: str, prepared: Prepared
) -> Path:
    """Make the directory of a run; one that holds just this run stays as it is.

    Args:
        path: where; its parent is made.
        request: what to do.
        model_source: text of the model file.
        prepared: the data, linked or copied.

    Raises:
        ForeignRunError: there is another run in `path`.
    """
    if path.exists():
        _require_same(path, request, model_source)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        temporary.chmod(0o755)
        (temporary / WORK_DIRECTORY).mkdir()
        (temporary / MODEL_FILE).write_text(model_source, encoding="utf-8")
        (temporary / RUN_FILE).write_text(request.to_json(), encoding="utf-8")
        write_archive(temporary / ARCHIVE_FILE)
        for name in (TRAIN_FILE, VALIDATION_FILE, META_FILE):
            _link(prepared.directory / name, temporary / name)
        temporary.rename(path)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not path.exists():
            raise
        # somebody else has made it in between
        _require_same(path, request, model_source)
    return path


def write_archive(path: Path) -> None:
    """Write the zip file that runs as `python -I arcfusion.zip RUN_DIR`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN)
        for name, source in sorted(read_archived_sources().items()):
            _add(archive, name, source)


def read_archived_sources() -> dict[str, str]:
    """The travelling part of the installed package: name in the archive -> text."""
    root = _package_directory()
    files = [root / f"{name}.py" for name in ARCHIVED_FILES]
    for folder in ARCHIVED_FOLDERS:
        files += sorted((root / folder).glob("*.py"))
    sources = {
        f"arcfusion/{file.relative_to(root).as_posix()}": file.read_text(encoding="utf-8")
        for file in files
    }
    init = package_root() / "arcfusion" / "__init__.py"
    return sources | {"arcfusion/__init__.py": init.read_text(encoding="utf-8")}


def _package_directory() -> Path:
    """Where core/ and experiments/ lie: in the package, or in the checkout's root."""
    import arcfusion.core

    return Path(str(arcfusion.core.__file__)).parents[1]


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, date_time=_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, text)


def _link(source: Path, target: Path) -> None:
    """A hard link where that is possible: a supervisor compares the content with its checksum."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _require_same(path: Path, request: RunRequest, model_source: str) -> None:
    found = read_request(path)
    source = (path / MODEL_FILE).read_text(encoding="utf-8")
    if found != request or source != model_source:
        raise ForeignRunError(
            f"{str(path)!r} holds another run ({found.run_id!r}): the same run id needs the same "
            "model file and settings"
        )
