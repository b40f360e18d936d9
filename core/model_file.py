"""A model file: a Python file with `build(vocab_size, d_model, n_layers) -> torch.nn.Module`.

The one contract by which a model from anywhere is judged and trained. `read_model_source` looks at
the text only; `load_model_file` RUNS the file: an untrusted one only inside the sandbox.
"""

import ast
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from torch import nn

ARGUMENTS = ("vocab_size", "d_model", "n_layers")
CONTRACT = "build(vocab_size: int, d_model: int, n_layers: int) -> torch.nn.Module"
MAX_SIZE_BYTES = 1_000_000


class ModelFileError(BadInputError):
    """The file is not a model file."""


def read_model_source(path: Path) -> str:
    """Return the file's text after checking that it defines `build`, without running any of it.

    Raises:
        ModelFileError: it can not be read, is too large, is not Python (with the line), or
            defines no `build` that takes the three sizes.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_SIZE_BYTES:
            raise ModelFileError(f"{str(path)!r} has {size_bytes} bytes, over {MAX_SIZE_BYTES}")
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ModelFileError(f"can not read the model file {str(path)!r}: {reason}") from error
    check_model_source(source, name=path.name)
    return source


def check_model_source(source: str, *, name: str) -> None:
    """Check that the text is Python with a `build` that takes the three sizes; nothing is run.

    Raises:
        ModelFileError: it is not, with the line.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise ModelFileError(f"{name!r} is not Python, {line}") from error
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    build = next(functions, None)
    if build is None:
        raise ModelFileError(f"{name!r} defines no function `build`: a model file has {CONTRACT}")
    given = [a.arg for a in (*build.args.posonlyargs, *build.args.args, *build.args.kwonlyargs)]
    missing = [a for a in ARGUMENTS if a not in given]
    if missing or build.args.posonlyargs:
        raise ModelFileError(
            f"`build` of {name!r} (line {build.lineno}) takes ({', '.join(given)}): "
            f"it needs {CONTRACT}"
        )


class Sizes(NamedTuple):
    """What `build` is called with when nobody says."""

    vocab_size: int = 256
    d_model: int = 64
    n_layers: int = 4


def read_sizes(source: str) -> Sizes:
    """Return the literal defaults of the source's `build`, the usual ones where it has none.

    Nothing is run; the source has passed `check_model_source`.
    """
    tree = ast.parse(source)
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    first = len(build.args.args) - len(build.args.defaults)
    pairs = [
        *zip(build.args.args[first:], build.args.defaults, strict=True),
        *zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True),
    ]
    found = {
        argument.arg: default.value
        for argument, default in pairs
        if isinstance(default, ast.Constant) and type(default.value) is int
    }
    return Sizes(**{name: found[name] for name in ARGUMENTS if name in found})


def load_model_file(path: Path) -> "Callable[..., nn.Module]":
    """RUN the file and return its `build`; the arguments are passed by name.

    Raises:
        ModelFileError: as `read_model_source`, or the file raised while it was imported.
    """
    read_model_source(path)
    spec = importlib.util.spec_from_file_location("arcfusion_model_file", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelFileError(f"{path.name!r} raised {_describe(error)}") from error
    build: Callable[..., nn.Module] = module.build
    return build


def build_from_file(
    path: Path,
    *,
    vocab_size: int | None = None,
    d_model: int | None = None,
    n_layers: int | None = None,
) -> "nn.Module":
    """RUN the file and return the model it builds; a size of None is left to the file's default.

    Raises:
        ModelFileError: as `load_model_file`; a size without a default is missing; `build` raised or
            returned something that is not a module.
    """
    from torch import nn

    build = load_model_file(path)
    sizes = {"vocab_size": vocab_size, "d_model": d_model, "n_layers": n_layers}
    given = {name: size for name, size in sizes.items() if size is not None}
    parameters = inspect.signature(build).parameters
    open_sizes = [
        a for a in ARGUMENTS if a not in given and parameters[a].default is inspect._empty
    ]
    if open_sizes:
        raise ModelFileError(
            f"`build` of {path.name!r} has no default for {', '.join(open_sizes)}: name a size"
        )
    try:
        model = build(**given)
    except Exception as error:
        raise ModelFileError(f"`build` of {path.name!r} raised {_describe(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelFileError(
            f"`build` of {path.name!r} returned {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
