"""`arcfusion architecture`: presets, known engines and what the lab has saved."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group
from arcfusion.core.database import Connection
from arcfusion.core.errors import HomeNotFoundError

if TYPE_CHECKING:
    from arcfusion.core.library.catalog import Entry
    from arcfusion.core.spec import ArchSpec

app = Group(help="Presets, known engines and saved architectures.")


@app.command("list")
def list_architectures(json: Json = False) -> None:
    """List every architecture that has a name here."""
    from arcfusion.core.library.catalog import list_entries

    with open_lab() as connection:
        entries = list_entries(connection)
    if json:
        print_json({"architectures": [_to_row(entry) for entry in entries]})
        return
    rows = [
        (e.name, e.origin, len(e.spec.layers), e.spec.d_model, describe(e.spec), e.id)
        for e in entries
    ]
    print_text(format_table(("name", "origin", "layers", "d_model", "mixers", "id"), rows))


@app.command("show")
def show(
    name: Annotated[
        str, Argument(help="A preset, an engine, a saved name or id, or a spec (.yaml).")
    ],
    json: Json = False,
) -> None:
    """Show an architecture as YAML, with its size before anything is built."""
    from arcfusion.core.accounting import account

    spec = resolve(name)
    costs = account(spec)
    figures = {
        "parameters": costs.parameters,
        "state_bytes": costs.state_bytes,
        "kv_bytes": costs.kv_bytes,
        "context": costs.context,
    }
    if json:
        print_json(
            {"name": spec.name, "digest": spec.digest(), "spec": spec.canonical(), **figures}
        )
        return
    print_text(spec.to_yaml().rstrip("\n"))
    print_text(
        f"# {costs.parameters:,} parameters; a sequence keeps {costs.state_bytes:,} bytes of state "
        f"and, at {costs.context} tokens, {costs.kv_bytes:,} of keys and values"
    )


@contextmanager
def open_lab() -> Iterator[Connection | None]:
    """Give the database of the lab that this directory is in, or None when it is in none."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home

    try:
        home = find_home()
    except HomeNotFoundError:
        yield None
        return
    with closing(store.connect(home)) as connection:
        yield connection


def resolve(target: str) -> "ArchSpec":
    """Return the spec that a target of the command line names, in this lab if there is one.

    Raises:
        UnknownTargetError: there is no such file or name.
        SpecError: the file's content is no spec.
    """
    from arcfusion.core.library.catalog import resolve_spec

    with open_lab() as connection:
        return resolve_spec(target, connection)


def describe(spec: "ArchSpec") -> str:
    """Return the mixers in words: `6 x mamba1, mha`."""
    from arcfusion.core.composer.proposal import describe_layers

    return describe_layers([layer.mixer.kind for layer in spec.layers])


def _to_row(entry: "Entry") -> dict[str, object]:
    return {
        "name": entry.name,
        "origin": entry.origin,
        "id": entry.id,
        "fingerprint": entry.fingerprint,
        "source": entry.source,
        "spec": entry.spec.canonical(),
    }
