"""`arcfusion generate`: an architecture as one readable PyTorch file."""

from pathlib import Path
from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError


class OutputFileError(BadInputError):
    """The file can not be written."""


def command(
    target: Annotated[
        str, Argument(help="A spec (.yaml), a preset, an engine or a saved architecture.")
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write here. Default: print it.")
    ] = None,
    vocab_size: Annotated[
        int | None, Option("--vocab-size", min=2, help="Default: the target's own.")
    ] = None,
    d_model: Annotated[
        int | None, Option("--d-model", min=1, help="Width. Default: the target's own.")
    ] = None,
    layers: Annotated[
        int | None, Option("--layers", min=1, help="Depth. Default: the target's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Write the model file of an architecture: it needs torch alone, and defines `build`."""
    from arcfusion.agents.cli.architecture import resolve
    from arcfusion.core.codegen import generate

    spec = resolve(target).with_size(vocab_size=vocab_size, d_model=d_model, n_layers=layers)
    source = generate(spec)
    if output is not None:
        try:
            output.write_text(source, encoding="utf-8")
        except OSError as error:
            raise OutputFileError(
                f"can not write {str(output)!r}: {error.strerror}; name another file with -o"
            ) from error
    if json:
        path = None if output is None else str(output)
        print_json({"name": spec.name, "path": path, "source": source})
    elif output is None:
        print_text(source.rstrip("\n"))
    else:
        print_note(f"{spec.name}: {len(source.splitlines())} lines in {str(output)!r}")
