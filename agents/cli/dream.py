"""`arcfusion dream`: new architectures out of the component library, offline."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.database import Connection

if TYPE_CHECKING:
    from arcfusion.core.composer import Dream
    from arcfusion.core.home import Home


def command(
    strategy: Annotated[str, Argument(help="random, greedy, mutate or crossover.")],
    seed: Annotated[int, Option("--seed", help="Of all choices.")] = 0,
    n: Annotated[int, Option("--n", "-n", help="How many to look for.")] = 1,
    parent: Annotated[
        list[str] | None,
        Option(
            "--parent",
            help="A spec, preset, engine or saved architecture; may be repeated. "
            "Default: all engines.",
        ),
    ] = None,
    d_model: Annotated[int, Option("--d-model", min=1, help="Width.")] = 64,
    max_layers: Annotated[int, Option("--max-layers", min=1, help="Largest depth.")] = 8,
    save: Annotated[
        bool, Option("--save", help="Write recipe and architecture into the lab.")
    ] = False,
    json: Json = False,
) -> None:
    """Dream architectures; those whose model the lab knows already are dropped."""
    from arcfusion.agents.cli.architecture import open_lab
    from arcfusion.core.composer import Constraints, dream
    from arcfusion.core.composer.batch import load_strategy
    from arcfusion.core.home import find_home
    from arcfusion.core.library.catalog import resolve_spec

    load_strategy(strategy)  # a wrong name is refused before the lab is looked at
    home = find_home() if save else None
    with open_lab() as connection:
        parents = [resolve_spec(name, connection) for name in parent or ()]
        known = _read_known(connection) if connection else set()
    dreams = dream(
        strategy,
        seed=seed,
        n=n,
        parents=parents,
        known=known,
        constraints=Constraints(d_model=d_model, max_layers=max_layers),
    )
    recipe_ids = _save(home, dreams) if home else [None] * len(dreams)
    if len(dreams) < n:
        print_note(f"{len(dreams)} of {n}: {strategy} found no more that are not known")
    if json:
        rows = [_to_row(one, key) for one, key in zip(dreams, recipe_ids, strict=True)]
        print_json({"strategy": strategy, "seed": seed, "dreams": rows})
        return
    for one, key in zip(dreams, recipe_ids, strict=True):
        _print_dream(one, key)


def _read_known(connection: Connection) -> set[str]:
    rows = connection.execute("SELECT DISTINCT fingerprint FROM architecture")
    return {row["fingerprint"] for row in rows}


def _save(home: "Home", dreams: "list[Dream]") -> list[str | None]:
    from datetime import UTC, datetime

    from arcfusion.core import store
    from arcfusion.core.composer.saved import save_dream

    now = datetime.now(UTC)
    with store.session(home) as session:
        return [save_dream(session, one, now=now) for one in dreams]


def _to_row(dream: "Dream", recipe_id: str | None) -> dict[str, object]:
    return {
        "name": dream.spec.name,
        "fingerprint": dream.fingerprint,
        "score": dream.score,
        "spec": dream.spec.model_dump(mode="json"),
        "parents": list(dream.parents),
        "reasoning": dream.reasoning,
        "changes": list(dream.changes),
        "adjustments": [asdict(adjustment) for adjustment in dream.adjustments],
        "index": dream.index,
        "recipe_id": recipe_id,
        "dropped": [{"name": d.spec.name, "reason": d.reason} for d in dream.dropped],
    }


def _print_dream(dream: "Dream", recipe_id: str | None) -> None:
    saved = f"  {recipe_id}" if recipe_id else ""
    print_text(f"{dream.spec.name}  score {dream.score:.2f}  {dream.fingerprint}{saved}")
    print_text(f"  {dream.reasoning}")
    for adjustment in dream.adjustments:
        print_text(
            f"  adjusted: {adjustment.original} -> {adjustment.adjusted} ({adjustment.reason})"
        )
    for dropped in dream.dropped:
        print_text(f"  dropped before it: {dropped.spec.name}, {dropped.reason}")
