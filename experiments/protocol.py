"""The protocol: everything besides the architecture and the seed that a score depends on.

Its hash is the comparability key. Two runs are ranked or compared only when their keys are equal,
so the key covers each field but the protocol's name: data, tokenizer, order, budget, precision,
threads, device class, evaluation and the harness's version. A key that is too fine refuses a
ranking; one that is too coarse publishes an A10G against an A100.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arcfusion.core.errors import BadInputError
from arcfusion.core.ids import short_id
from arcfusion.core.training.config import TrainingConfig, TrainingConfigError

# Raise it with every change that can move a score: batches, loss, optimiser, evaluation, clock.
HARNESS_VERSION = "1"

_PRESET_DIRECTORY = Path(__file__).parent / "protocols"
PROTOCOLS: dict[str, Path] = {
    "instant": _PRESET_DIRECTORY / "instant.yaml",
    "smoke": _PRESET_DIRECTORY / "smoke.yaml",
    "standard": _PRESET_DIRECTORY / "standard.yaml",
}


class ProtocolError(BadInputError):
    """The protocol is not one that the lab can run."""


class Protocol(BaseModel):
    """How an architecture is trained and scored. A value: nothing of it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    data: str = Field(min_length=1, description="a corpus name, or the path of a text file")
    data_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    tokenizer: Literal["bytes"]
    vocab_size: int = Field(ge=2)
    n_tracks: int = Field(ge=1)
    validation_fraction: float = Field(gt=0.0, lt=1.0)
    order: Literal["tracks"] = "tracks"
    training: TrainingConfig
    device_class: str = Field(min_length=1)
    evaluation: Literal["whole-split-windows"] = "whole-split-windows"
    harness_version: str = HARNESS_VERSION

    @classmethod
    def load(cls, name_or_path: str) -> Self:
        """Read a preset by name, or a YAML file by path.

        Raises:
            ProtocolError: no such preset or file, or the file's content is not a protocol; the
                message names the line.
        """
        path = PROTOCOLS.get(name_or_path, Path(name_or_path))
        if not path.is_file():
            raise ProtocolError(
                f"unknown protocol {name_or_path!r}: use one of {', '.join(PROTOCOLS)}, "
                "or the path of a YAML file"
            )
        return cls.from_yaml(path.read_text(encoding="utf-8"), source=name_or_path)

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "protocol") -> Self:
        """Read a protocol from YAML.

        Raises:
            ProtocolError: the text is not YAML, or not a protocol; the message names the line.
        """
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ProtocolError(f"{source}: {_yaml_problem(error)}") from error
        if not isinstance(document, dict):
            raise ProtocolError(
                f"{source}: a protocol is a mapping of {', '.join(cls.model_fields)}"
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise ProtocolError(f"{source}, {_describe_first(error, text)}") from error
        except TrainingConfigError as error:
            line = _find_line(text, ("training", str(error).split(maxsplit=1)[0]))
            raise ProtocolError(f"{source}, line {line}: training: {error}") from error

    def to_yaml(self) -> str:
        """Return the YAML that `from_yaml` reads back as an equal protocol."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def resolve(self, data_sha256: str, *, device_class: str | None = None) -> Self:
        """Return the protocol bound to the prepared data and the device it will run on.

        Args:
            data_sha256: of the corpus (`core.data.dataset.DataFacts.corpus_sha256`).
            device_class: what `detect_device_class` says; None keeps the protocol's own.

        Raises:
            ProtocolError: it is bound to other data, or to another version of the harness.
        """
        if self.harness_version != HARNESS_VERSION:
            raise ProtocolError(
                f"protocol {self.name!r} is for harness version {self.harness_version!r}, this is "
                f"{HARNESS_VERSION!r}: drop harness_version to measure anew"
            )
        if self.data_sha256 not in (None, data_sha256):
            raise ProtocolError(
                f"protocol {self.name!r} is for data {self.data_sha256}, the prepared "
                f"{self.data!r} is {data_sha256}: prepare the original data, or drop data_sha256"
            )
        fields = self.model_dump() | {
            "data_sha256": data_sha256,
            "device_class": device_class or self.device_class,
        }
        return type(self).model_validate(fields)

    def key(self) -> str:
        """Return the comparability key, `key-` and 8 letters.

        Raises:
            ProtocolError: the protocol is not resolved yet.
        """
        if self.data_sha256 is None:
            raise ProtocolError(f"protocol {self.name!r} has no key before its data is prepared")
        return short_id("key", self.model_dump(mode="json", exclude={"name"}))

    def describe(self) -> str:
        """Return one line for a person: data, budget, precision, device."""
        training = self.training
        tokens = training.steps * training.tokens_per_step
        return (
            f"{self.name}: {self.data}, {self.tokenizer}, {training.steps} steps of "
            f"{training.batch_size} x {training.context}, {tokens:,} tokens, {training.precision}, "
            f"{training.threads} thread{'s' if training.threads != 1 else ''}, {self.device_class}"
        )


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not readable as YAML"
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)


def _describe_first(error: ValidationError, text: str) -> str:
    """Say where the first problem is, what it is, and what is allowed there."""
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    # A misspelt name is also a missing one; the first says more.
    first = min(error.errors(), key=lambda problem: problem["type"] not in unknown)
    location = first["loc"]
    message = f"line {_find_line(text, location)}: {'.'.join(map(str, location))}: {first['msg']}"
    if first["type"] in unknown:
        inner = location[:1] == ("training",)
        names = TrainingConfig.__dataclass_fields__ if inner else Protocol.model_fields
        message += f"; allowed are {', '.join(names)}"
    return message


def _find_line(text: str, location: Iterable[str | int]) -> int:
    """Return the line (from 1) of the innermost mapping key on the way that the text has."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == str(part):
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line


def detect_device_class() -> str:
    """Return what makes times comparable: the processor's kind and model, such as `cpu:EPYC 7B13`.

    Runs train on the CPU; a GPU is not asked for.
    """
    return f"cpu:{_cpu_model()}"


def _cpu_model() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or platform.machine()
