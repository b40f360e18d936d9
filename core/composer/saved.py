"""Dreams in the lab's database: a recipe, its architecture, and its adjustments."""

import json
from datetime import datetime

from sqlmodel import Session

from arcfusion.core.composer.batch import Dream
from arcfusion.core.ids import short_id
from arcfusion.core.library import tables
from arcfusion.core.library.seeds import add_architecture, architecture_id


def save_dream(
    session: Session, dream: Dream, *, now: datetime, issue_id: str | None = None
) -> str:
    """Write the dream unless it is there, and return the recipe's id.

    The id is of the architecture, the strategy, the seed, the parents and the issue: the same dream
    again is the same row.
    """
    key = architecture_id(dream.fingerprint)
    parents = json.dumps(dream.parents)
    recipe_id = short_id("recipe", [key, dream.strategy, dream.seed, parents, issue_id])
    if session.get(tables.Recipe, recipe_id) is not None:
        return recipe_id
    add_architecture(session, dream.spec, dream.fingerprint, now=now)
    session.flush()  # rows that point to these follow
    session.add(
        tables.Recipe(
            id=recipe_id,
            architecture_id=key,
            strategy=dream.strategy,
            seed=dream.seed,
            parents=parents,
            reasoning=dream.reasoning,
            score=dream.score,
            issue_id=issue_id,
            created_at=now.timestamp(),
        )
    )
    session.flush()
    for position, adjustment in enumerate(dream.adjustments):
        session.add(
            tables.Adjustment(
                recipe_id=recipe_id,
                position=position,
                kind=adjustment.kind,
                original=adjustment.original,
                adjusted=adjustment.adjusted,
                reason=adjustment.reason,
                component=adjustment.component,
            )
        )
    return recipe_id
