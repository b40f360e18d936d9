"""What an issue asks to be measured, read from text that nobody has checked.

An issue carries a study in its metadata, or names presets in its words. Whatever it says, it can
ask only for trainings under the lab's own protocols, of specs that validate, in bounded numbers.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arcfusion.core.errors import BadInputError

MAX_ARCHITECTURES = 8
Strategy = Literal["random", "greedy", "mutate", "crossover"]
Count = Annotated[int, Field(ge=2, le=16)]
SeedList = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=2, max_length=16)
]


class StudyError(BadInputError):
    """The issue asks for a study that the lab can not run."""


class Study(BaseModel):
    """A question in the form that a worker can answer.

    Attributes:
        kind: compare named architectures, or dream new ones against the best so far.
        architectures: names of presets.
        specs: ArchSpecs as YAML, each with a name.
        baseline: name of the one that the others are compared with; the first when not given.
        strategies: of the dreams, in order.
        n: dreams of each strategy.
        protocol: one of the lab's own.
        seeds: how many paired seeds, or which ones.
        hypothesis: id of the hypothesis that this study tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["compare", "dream"] = "compare"
    architectures: tuple[str, ...] = Field((), max_length=MAX_ARCHITECTURES)
    specs: tuple[str, ...] = Field((), max_length=MAX_ARCHITECTURES)
    baseline: str | None = None
    strategies: tuple[Strategy, ...] = Field(("mutate", "crossover", "random"), min_length=1)
    n: int = Field(1, ge=1, le=4)
    protocol: Literal["instant", "smoke", "standard"] = "smoke"
    seeds: Count | SeedList = 4
    hypothesis: str | None = None

    def choose_seeds(self, first: int) -> tuple[int, ...]:
        """Return the seeds of the trainings; a count gives consecutive ones from `first`."""
        if isinstance(self.seeds, int):
            return tuple(range(first, first + self.seeds))
        return self.seeds


def read_study(metadata: Mapping[str, object], text: str, preset_names: tuple[str, ...]) -> Study:
    """Return the issue's study.

    Args:
        metadata: the issue's; its `study` wins.
        text: title and description; presets that it names are compared, in the order of mention.
            With fewer than two names the study is a dream.
        preset_names: what it may name.

    Raises:
        StudyError: the study is malformed; the message names the field.
    """
    given = metadata.get("study")
    if given is not None:
        try:
            study = Study.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "study"
            raise StudyError(f"the issue's study: {where}: {first['msg']}") from error
        if study.kind == "compare" and len(study.architectures) + len(study.specs) < 2:
            raise StudyError("the issue's study compares fewer than two architectures: name two")
        return study
    named = find_names(text, preset_names)
    if len(named) >= 2:
        return Study(kind="compare", architectures=named[:MAX_ARCHITECTURES])
    return Study(kind="dream")


def find_names(text: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that stand in the text as whole words, in the order of first mention.

    `linear-attention` is found in "Linear attention" too; its words are then not read again.
    """
    lowered = text.lower()
    found: dict[int, str] = {}
    for name in sorted(names, key=len, reverse=True):
        pattern = r"(?<![\w-])" + re.escape(name).replace(r"\-", "[- ]") + r"(?![\w-])"
        for match in re.finditer(pattern, lowered):
            found.setdefault(match.start(), name)
            lowered = lowered[: match.start()] + "\0" * len(match[0]) + lowered[match.end() :]
    return tuple(dict.fromkeys(found[position] for position in sorted(found)))
