"""`arcfusion summary`: documents made from the database."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Group, Option

if TYPE_CHECKING:
    from arcfusion.experiments.cards import Card

app = Group(help="Documents made from the database.")


@app.command("recipe-cards")
def recipe_cards(
    key: Annotated[
        str | None, Option("--key", help="Only this comparability key. Default: all keys.")
    ] = None,
    output: Annotated[
        Path | None, Option("--output", help="Write one file a card into this directory.")
    ] = None,
    json: Json = False,
) -> None:
    """Print a card for each architecture with a completed run: figures, seeds, gates, limits."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home
    from arcfusion.experiments.cards import load_cards, render_card

    connection = store.connect(find_home())
    try:
        cards = load_cards(connection, key=key)
    finally:
        connection.close()
    if output is not None:
        _write(output, cards)
    if json:
        print_json({"cards": [card.to_json() for card in cards]})
    elif not cards:
        print_text("no card yet: a card needs a completed run")
    elif output is None:
        print_text("\n".join(render_card(card) for card in cards).rstrip())


def _write(directory: Path, cards: "list[Card]") -> None:
    from arcfusion.core.errors import BadInputError
    from arcfusion.experiments.cards import render_card

    try:
        directory.mkdir(parents=True, exist_ok=True)
        for card in cards:
            path = directory / f"{card.fingerprint}-{card.key}.md"
            path.write_text(render_card(card), encoding="utf-8")
            print_note(f"wrote {path}")
    except OSError as error:
        raise BadInputError(
            f"can not write cards to {str(directory)!r} ({error.strerror}): "
            "name a directory you own"
        ) from error
