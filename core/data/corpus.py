"""The texts to train on: two that every Python carries, WikiText-2, and any local file.

`pydoc` and `stdlib` differ between versions of Python, so a protocol records the text's SHA-256 and
not its name. The standard library alone is imported; WikiText-2 and Parquet need the extra `data`.
"""

import hashlib
import importlib
import os
import platform
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core.errors import BadInputError, UnavailableError

_STDLIB_CAP_BYTES = 2_000_000
# Tests and vendored packages are not the library; pydoc_data is the other corpus.
_STDLIB_SKIPPED = frozenset(
    {"test", "tests", "idlelib", "site-packages", "dist-packages", "pydoc_data", "__pycache__"}
)
_PARQUET_COLUMN = "text"
_DATA_ADVICE = (
    "install the extra with `pip install 'arcfusion[data]'` on a machine with network, or pass the"
    " path of a .txt or .parquet file, or use the corpus 'pydoc', which needs neither"
)


class NoTextError(BadInputError):
    """There is no text there."""


class UnknownCorpusError(BadInputError):
    """There is no corpus of that name."""


class CorpusUnavailableError(UnavailableError):
    """The corpus can not be had on this machine."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """One text.

    Attributes:
        name: corpus name, or the file's name without its directories.
        data: the text as UTF-8 (a file of the standard library may be in another encoding).
        sha256: SHA-256 of `data`, the identity of the text.
        licence: SPDX expression, or "unknown".
        description: what it is, in one line.
    """

    name: str
    data: bytes
    sha256: str
    licence: str
    description: str


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """A named corpus before it is read.

    Attributes:
        licence: SPDX expression.
        description: what it is, in one line.
        read: returns its bytes; gets the cache directory.
        is_downloaded: whether the first reading needs the network.
    """

    licence: str
    description: str
    read: Callable[[Path], bytes]
    is_downloaded: bool = False


def load_corpus(name_or_path: str, cache_dir: Path) -> Corpus:
    """Return a named corpus, or the text of a .txt or .parquet file (column `text`).

    A corpus goes before a file of the same name. WikiText-2 is downloaded once into
    `cache_dir`; afterwards no network is needed.

    Raises:
        UnknownCorpusError: neither a corpus nor a file.
        NoTextError: the file is empty or not text.
        CorpusUnavailableError: the extra is missing, the machine is offline, or a cached file is
            damaged.
    """
    source = SOURCES.get(name_or_path)
    if source is not None:
        data = source.read(cache_dir)
        return _corpus(name_or_path, data, source.licence, source.description)
    path = Path(name_or_path).expanduser()
    if path.is_dir() or not path.exists():
        raise UnknownCorpusError(
            f"no corpus and no file {name_or_path!r}: the corpora are {', '.join(SOURCES)}; or pass"
            " the path of a .txt or .parquet file"
        )
    data = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    return _corpus(path.name, data, "unknown", f"local file {path.name}")


def is_cached(name: str, cache_dir: Path) -> bool:
    """Whether the named corpus can be read without the network."""
    source = SOURCES[name]
    return not source.is_downloaded or _wikitext_path(cache_dir).is_file()


def _corpus(name: str, data: bytes, licence: str, description: str) -> Corpus:
    if not data.strip():
        raise NoTextError(f"{name!r} holds no text: give a file with some")
    return Corpus(name, data, hashlib.sha256(data).hexdigest(), licence, description)


def _read_text(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except OSError as error:
        raise NoTextError(f"can not read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise NoTextError(
            f"{str(path)!r} is not UTF-8 text (byte {error.start}): give a text file"
        ) from error
    return data


def _read_parquet(path: Path) -> bytes:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise CorpusUnavailableError(
            f"reading {str(path)!r} needs pyarrow: {_DATA_ADVICE}"
        ) from error
    try:
        column = parquet.read_table(path, columns=[_PARQUET_COLUMN])[_PARQUET_COLUMN]
    except (OSError, ValueError, KeyError) as error:
        raise NoTextError(
            f"{str(path)!r} is not a Parquet file with a column {_PARQUET_COLUMN!r}: {error}"
        ) from error
    return "".join(text or "" for text in column.to_pylist()).encode()


def _read_pydoc(cache_dir: Path) -> bytes:
    """Return the topics of the language reference in the order of their names."""
    del cache_dir  # it comes with Python
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise CorpusUnavailableError(
            "this Python comes without pydoc_data: use the corpus 'stdlib', or the path of a text"
            " file"
        ) from error
    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)).encode()


def _read_stdlib(cache_dir: Path) -> bytes:
    """Return whole files of the standard library in the order of their paths, up to 2 MB."""
    del cache_dir  # it comes with Python
    root = Path(sysconfig.get_paths()["stdlib"])
    parts: list[bytes] = []
    size_bytes = 0
    for path in _list_stdlib(root):
        data = path.read_bytes()
        if size_bytes + len(data) > _STDLIB_CAP_BYTES:
            break
        parts.append(data)
        size_bytes += len(data)
    return b"\n".join(parts)


def _list_stdlib(root: Path) -> list[Path]:
    found: list[Path] = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if name not in _STDLIB_SKIPPED]
        # _sysconfigdata holds the paths of the machine that built this Python.
        found += [
            Path(directory, name)
            for name in names
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _wikitext_path(cache_dir: Path) -> Path:
    return cache_dir / "corpora" / "wikitext2.txt"


def _read_wikitext(cache_dir: Path) -> bytes:
    """Return the training part of WikiText-2 (raw); the other parts stay unseen."""
    path = _wikitext_path(cache_dir)
    if path.is_file():
        return _read_checked(path)
    data = _download_wikitext()
    path.parent.mkdir(parents=True, exist_ok=True)
    # The checksum is in place before the text, so a text in the cache always has one.
    _write_whole(
        _checksum_path(path), f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()
    )
    _write_whole(path, data)
    return data


def _download_wikitext() -> bytes:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise CorpusUnavailableError(
            f"WikiText-2 is not in the cache and needs the package 'datasets': {_DATA_ADVICE}"
        ) from error
    try:
        rows = datasets.load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="train")
    # `datasets` raises OSError and its own subclasses of it when there is no network.
    except (OSError, ValueError, RuntimeError) as error:
        raise CorpusUnavailableError(
            f"WikiText-2 could not be downloaded ({error}): {_DATA_ADVICE}"
        ) from error
    return "".join(rows[_PARQUET_COLUMN]).encode()


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _read_checked(path: Path) -> bytes:
    data = path.read_bytes()
    checksum = _checksum_path(path)
    expected = checksum.read_text().split()[:1] if checksum.is_file() else []
    if expected != [hashlib.sha256(data).hexdigest()]:
        raise CorpusUnavailableError(
            f"{str(path)!r} does not have the checksum in {checksum.name!r}: delete both files and"
            " fetch the corpus again"
        )
    return data


def _write_whole(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


SOURCES: dict[str, CorpusSource] = {
    "pydoc": CorpusSource(
        "PSF-2.0",
        f"language reference of Python {platform.python_version()} (pydoc topics), English prose",
        _read_pydoc,
    ),
    "stdlib": CorpusSource(
        "PSF-2.0",
        f"source of the standard library of Python {platform.python_version()}, first 2 MB",
        _read_stdlib,
    ),
    "wikitext2": CorpusSource(
        "CC-BY-SA-3.0 OR GFDL-1.3-or-later",
        "WikiText-2 (raw), training part: Wikipedia articles; downloaded once",
        _read_wikitext,
        is_downloaded=True,
    ),
}
