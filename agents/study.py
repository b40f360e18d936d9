"""What an issue asks to be measured, read from text that nobody has checked.

An issue carries a study in its metadata, or names presets in its words. Whatever it says, it can
ask only for trainings under the lab's own protocols, of specs that validate, in bounded numbers.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.core.spec import ArchSpec

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


class Architectures(NamedTuple):
    """What a comparison compares; `origins` says where each one is from."""

    specs: "tuple[ArchSpec, ...]"
    origins: tuple[str, ...]
    baseline: str


def read_architectures(study: Study) -> Architectures:
    """Return the specs that a comparison names and gives, in its order.

    Raises:
        StudyError: the baseline or a preset is unknown, or a name is given twice.
        SpecError: a spec does not validate.
    """
    from arcfusion.core.spec import ArchSpec, preset_names

    unknown = [name for name in study.architectures if name not in preset_names()]
    if unknown:
        raise StudyError(f"unknown preset {unknown[0]!r}: there are {', '.join(preset_names())}")
    specs = [ArchSpec.preset(name) for name in study.architectures]
    origins = ["preset"] * len(specs) + ["issue"] * len(study.specs)
    specs += [ArchSpec.from_yaml(text) for text in study.specs]
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise StudyError(f"the study names an architecture twice: {', '.join(names)}")
    baseline = study.baseline or names[0]
    if baseline not in names:
        raise StudyError(f"the baseline {baseline!r} is not one of {', '.join(names)}")
    return Architectures(tuple(specs), tuple(origins), baseline)


def read_replica(metadata: Mapping[str, object]) -> int:
    """Return which repetition of its experiment the issue asks for; 0 is the first one.

    Raises:
        StudyError: it is no number from 0.
    """
    number = metadata.get("replica", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise StudyError(f"the issue's replica is {number!r}: it is a whole number from 0")
    return number


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
