"""The architecture as a value: ordered layers of a mixer and a channel mixer, and their frame.

An ArchSpec is checked when it is made, and canonical: every option is filled in, and what is chosen
automatically is written out. Two specs that say the same thing are equal and share a digest.
"""

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from arcfusion.core import ids, spec_yaml
from arcfusion.core.blocks import CHANNELS, MIXERS, component_names, load_component
from arcfusion.core.blocks.component import BlockOptions
from arcfusion.core.errors import BadInputError
from arcfusion.core.layer_pattern import MAX_LAYERS

OptionValue = bool | int | float | str


class SpecError(BadInputError, ValueError):
    """The architecture is not one that can be built."""


def known_or_error(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return the name if it is allowed.

    Raises:
        SpecError: it is not; the message lists what is, and the closest one.
    """
    names = list(allowed)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise SpecError(f"unknown {kind} {name!r}{hint}: known are {', '.join(names)}")


def _location(loc: tuple[int | str, ...]) -> str:
    return " ".join(str(part) for part in loc).replace("layers ", "layer ")


def _explain(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """Turn one of pydantic's findings into words: where, what, and what was allowed."""
    where = _location(problem["loc"])
    found = reprlib.repr(problem["input"])
    context = problem.get("ctx", {})
    match problem["type"]:
        case "value_error":
            message = str(context["error"])
            return f"{where}: {message}" if where else message
        case "extra_forbidden":
            allowed = ", ".join(model.model_fields) or "none"
            return f"unknown key {where!r}: allowed are {allowed}"
        case "missing":
            return f"{where} is missing"
        case "too_short" | "too_long":
            return f"{where} has {context['actual_length']} items: allowed are 1 to {MAX_LAYERS}"
        case "literal_error":
            return f"{where} is {found}: allowed are {context['expected']}"
        case _:
            return f"{where} is {found}: {problem['msg'].lower()}"


def _explain_all(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors()
    # A faulty item also makes its list "too short": that says nothing.
    faults = [p for p in problems if p["type"] != "too_short"] or problems
    return "; ".join(_explain(problem, model) for problem in faults)


class _Value(BaseModel):
    """An immutable value whose faults are SpecErrors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **data: object) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise SpecError(_explain_all(error, type(self))) from error


class Choice(_Value):
    """A component by name, with all of its options."""

    kind: str
    # The component's own options model checks them, with better words than this union would.
    options: SkipValidation[dict[str, OptionValue]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fill_in(self) -> Self:
        known_or_error("component", self.kind, component_names())
        # The value is being made; nobody has seen it yet.
        object.__setattr__(self, "options", self.parsed().model_dump())
        return self

    def parsed(self) -> BlockOptions:
        """Return the options as the component's own options value."""
        model = load_component(self.kind).options
        try:
            return model.model_validate(self.options)
        except ValidationError as error:
            raise SpecError(f"{self.kind} options: {_explain_all(error, model)}") from error

    def resolved(self, d_model: int) -> "Choice":
        """Return the choice with automatic values written out for this width."""
        return Choice(kind=self.kind, options=self.parsed().resolved(d_model).model_dump())

    def resized(self, old_d_model: int, new_d_model: int) -> "Choice":
        """Return the choice for another width: what was the default becomes the new default."""
        defaults = Choice(kind=self.kind).resolved(old_d_model).options
        chosen = {k: v for k, v in self.options.items() if v != defaults[k]}
        return Choice(kind=self.kind, options=chosen).resolved(new_d_model)

    def __hash__(self) -> int:
        return hash((self.kind, tuple(sorted(self.options.items()))))


class LayerSpec(_Value):
    """One layer: how it mixes time, and how it mixes channels."""

    mixer: Choice
    channel: Choice

    @field_validator("mixer", "channel", mode="before")
    @classmethod
    def _check_category(cls, value: object, info: ValidationInfo) -> object:
        kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
        if isinstance(kind, str) and info.field_name == "mixer":
            known_or_error("mixer", kind, MIXERS)
        elif isinstance(kind, str):
            known_or_error("channel mixer", kind, CHANNELS)
        return value


class ArchSpec(_Value):
    """An architecture. The name is a label: it is no part of the identity."""

    name: str = Field("unnamed", min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
    vocab_size: int = Field(256, ge=2, le=1_000_000, strict=True)
    d_model: int = Field(ge=1, le=16_384, strict=True)
    layers: tuple[LayerSpec, ...] = Field(min_length=1, max_length=MAX_LAYERS)
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    position: Literal["rope", "learned", "none"] = "rope"
    max_seq_len: int = Field(1024, ge=1, le=1_048_576, strict=True)
    tied_head: bool = Field(default=True, strict=True)

    @model_validator(mode="after")
    def _resolve_layers(self) -> Self:
        problems: list[str] = []
        for index, layer in enumerate(self.layers):
            for role, choice in (("mixer", layer.mixer), ("channel", layer.channel)):
                found = choice.parsed().problems(self.d_model, self)
                problems += [f"layer {index} {role} {choice.kind}: {text}" for text in found]
        if problems:
            raise SpecError(problems[0])
        layers = tuple(
            LayerSpec(
                mixer=layer.mixer.resolved(self.d_model),
                channel=layer.channel.resolved(self.d_model),
            )
            for layer in self.layers
        )
        # The value is being made; nobody has seen it yet.
        object.__setattr__(self, "layers", layers)
        return self

    @classmethod
    def from_yaml(cls, text: str) -> "ArchSpec":
        """Read a spec from YAML (or JSON) text, with the short forms for layers.

        Raises:
            SpecError: it is not YAML (the line is named), or not a spec.
        """
        try:
            data = spec_yaml.read(text, list(ArchSpec.model_fields))
        except spec_yaml.FormatError as error:
            raise SpecError(str(error)) from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "ArchSpec":
        """Make a spec from its fields as JSON values, such as `canonical()` gives.

        Raises:
            SpecError: the fields do not make a spec.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(_explain_all(error, cls)) from error

    def to_yaml(self) -> str:
        """Write the spec as YAML that from_yaml reads back to an equal value."""
        return spec_yaml.write(self.name, self.canonical())

    @classmethod
    def preset(cls, name: str) -> "ArchSpec":
        """Return the preset of this name.

        Raises:
            SpecError: there is none; the message lists those there are.
        """
        known_or_error("preset", name, preset_names())
        file = resources.files("arcfusion.core.presets") / f"{name}.yaml"
        return cls.from_yaml(file.read_text(encoding="utf-8"))

    def canonical(self) -> dict[str, object]:
        """Return all of the spec but its name, as JSON values."""
        return self.model_dump(mode="json", exclude={"name"})

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the canonical form."""
        return ids.digest(self.canonical())

    def with_size(
        self,
        *,
        vocab_size: int | None = None,
        d_model: int | None = None,
        n_layers: int | None = None,
    ) -> "ArchSpec":
        """Return the spec at another size: layers are repeated from the first, or cut.

        Options that are their default at the old width become the default at the new one.

        Raises:
            SpecError: the spec can not be built at that size.
        """
        width = self.d_model if d_model is None else d_model
        count = len(self.layers) if n_layers is None else n_layers
        if not 1 <= count <= MAX_LAYERS:
            raise SpecError(f"n_layers is {count}: allowed are 1 to {MAX_LAYERS}")
        if width < 1:
            raise SpecError(f"d_model is {width}: allowed are 1 to 16384")
        layers = [
            LayerSpec(
                mixer=layer.mixer.resized(self.d_model, width),
                channel=layer.channel.resized(self.d_model, width),
            )
            for layer in (self.layers[i % len(self.layers)] for i in range(count))
        ]
        size = self.vocab_size if vocab_size is None else vocab_size
        return self.replaced(vocab_size=size, d_model=width, layers=layers)

    def replaced(self, **changes: object) -> "ArchSpec":
        """Return the spec with some fields changed, checked again.

        Raises:
            SpecError: the changed spec can not be built.
        """
        fields = {name: getattr(self, name) for name in ArchSpec.model_fields}
        return ArchSpec.from_dict({**fields, **changes})

    def diff(self, other: "ArchSpec") -> list[str]:
        """Say in words what would have to change to get from this spec to the other one."""
        changes = [
            f"{field}: {getattr(self, field)} -> {getattr(other, field)}"
            for field in ArchSpec.model_fields
            if field not in ("name", "layers") and getattr(self, field) != getattr(other, field)
        ]
        if len(self.layers) != len(other.layers):
            changes.append(f"layers: {len(self.layers)} -> {len(other.layers)}")
        for index, (mine, theirs) in enumerate(zip(self.layers, other.layers, strict=False)):
            changes += _diff_choice(f"layer {index} mixer", mine.mixer, theirs.mixer)
            changes += _diff_choice(f"layer {index} channel", mine.channel, theirs.channel)
        return changes


def _diff_choice(where: str, mine: Choice, theirs: Choice) -> list[str]:
    if mine.kind != theirs.kind:
        return [f"{where}: {mine.kind} -> {theirs.kind}"]
    return [
        f"{where} {mine.kind} {option}: {value} -> {theirs.options[option]}"
        for option, value in mine.options.items()
        if value != theirs.options[option]
    ]


def preset_names() -> list[str]:
    """Return the names of the presets: the YAML files in core/presets, sorted."""
    files = resources.files("arcfusion.core.presets").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
