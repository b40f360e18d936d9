"""ArchSpec as YAML text: short forms for layers, and faults that name the line."""

import difflib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import yaml

from arcfusion.core.layer_pattern import PatternError, expand, fold, quote_patterns

# What YAML can hold, and what an ArchSpec is made from before it is checked.
Data: TypeAlias = Mapping[str, object]

_DEFAULT_CHANNEL = "mlp"
_TAGS = [
    f"tag:yaml.org,2002:{tag}" for tag in ("map", "seq", "str", "int", "float", "bool", "null")
]
_SUGAR = ("channel", "options")
_LAYER_KEYS = ("mixer", "options", "channel", "channel_options")
_CHOICE_KEYS = ("kind", "options")


class FormatError(ValueError):
    """The text is not YAML, or not the YAML of an architecture."""


def read(text: str, fields: Sequence[str]) -> dict[str, object]:
    """Read YAML into the data of an ArchSpec, layers spelled out, options not checked.

    Args:
        text: the document.
        fields: the names of ArchSpec's fields.

    Raises:
        FormatError: it can not be read; the line is named where it is known.
    """
    data, lines = _parse(quote_patterns(text))
    allowed = [*fields, *_SUGAR]
    for key in data:
        if key not in allowed:
            raise FormatError(f"line {lines[key]}: {_unknown_key(key, allowed)}")
    channel = data.pop("channel", _DEFAULT_CHANNEL)
    options = _options_by_kind(data.pop("options", None))
    if "layers" in data:
        try:
            layers = _Layers(channel, options).read(data["layers"])
        except (FormatError, PatternError) as error:
            raise FormatError(f"line {lines['layers']}: {error}") from error
        data["layers"] = layers
    return data


def write(name: str, canonical: Data) -> str:
    """Write an architecture's canonical data as YAML that `read` takes back.

    Args:
        name: the architecture's name.
        canonical: its other fields; each layer is
            {"mixer": {"kind", "options"}, "channel": {"kind", "options"}}.
    """
    layers = canonical["layers"]
    assert isinstance(layers, list)
    head = {"name": name, **{k: v for k, v in canonical.items() if k != "layers"}}
    return _dump(head) + (_write_short(layers) or _write_long(layers))


def _dump(data: object) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, width=1000)
    return text


def _write_short(layers: Sequence[Data]) -> str | None:
    """Write layers as a pattern, if each kind has one set of options and there is one channel."""
    options: dict[str, object] = {}
    mixers: list[str] = []
    channels: list[str] = []
    for layer in layers:
        for role, kinds in (("mixer", mixers), ("channel", channels)):
            kind, chosen = _kind_and_options(layer[role])
            if options.setdefault(kind, chosen) != chosen:
                return None
            kinds.append(kind)
    if len(set(channels)) > 1:
        return None
    used = {kind: chosen for kind, chosen in options.items() if chosen}
    tail = _dump({"options": used}) if used else ""
    return f"layers: {fold(mixers)}\nchannel: {channels[0]}\n{tail}"


def _write_long(layers: Sequence[Data]) -> str:
    entries = []
    for layer in layers:
        mixer, options = _kind_and_options(layer["mixer"])
        channel, channel_options = _kind_and_options(layer["channel"])
        values = (mixer, options, channel, channel_options)
        entries.append(dict(zip(_LAYER_KEYS, values, strict=True)))
    return _dump({"layers": entries})


def _kind_and_options(choice: object) -> tuple[str, dict[str, object]]:
    assert isinstance(choice, Mapping)
    return str(choice["kind"]), dict(choice["options"])


def _unknown_key(key: object, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(key), allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown key {key!r}{hint}: allowed are {', '.join(allowed)}"


def _parse(text: str) -> tuple[dict[str, object], dict[str, int]]:
    """Parse one YAML mapping without doubled keys; return it and the lines of its keys."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise FormatError("line 1: an architecture is a mapping such as `d_model: 64`")
        lines = _check_node(root, set())
        return _construct(text), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f"line {mark.line + 1}: "
        raise FormatError(f"{line}malformed YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FormatError(f"malformed YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise FormatError("malformed YAML: nested too deeply") from error


def _construct(text: str) -> dict[str, object]:
    try:
        data: dict[str, object] = yaml.safe_load(text)
    except (ValueError, LookupError) as error:
        # Values such as `0x_` or `!!bool x` look like their type and are not.
        raise FormatError(f"malformed YAML: a value is not what it looks like ({error})") from error
    return data


def _check_node(node: yaml.Node, seen: set[int]) -> dict[str, int]:
    """Refuse what an architecture has no use for; return the lines of the node's own keys."""
    line = node.start_mark.line + 1
    if id(node) in seen:
        raise FormatError(f"line {line}: an alias (*name) is not allowed: write it out")
    seen.add(id(node))
    if node.tag not in _TAGS:
        raise FormatError(f"line {line}: {node.tag} is not allowed: use words, numbers, yes and no")
    lines: dict[str, int] = {}
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                raise FormatError(f"line {line}: a key must be a plain word, not {key.value!r}")
            if key.value in lines:
                raise FormatError(f"line {line}: {key.value!r} is given twice")
            lines[key.value] = line
            children.append(value)
    for child in children:
        _check_node(child, seen)
    return lines


def _options_by_kind(value: object) -> dict[str, dict[str, object]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FormatError(f"options is {value!r}: it maps a component to its options")
    return {kind: _mapping(f"options of {kind}", chosen) for kind, chosen in value.items()}


def _mapping(what: str, value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FormatError(f"{what} are {value!r}: options are a mapping such as n_heads: 4")
    return dict(value)


class _Layers:
    """Spells out the layers of a document with its default channel and options by kind."""

    def __init__(self, channel: object, options: Mapping[str, dict[str, object]]) -> None:
        self.channel = channel
        self.options = options
        self.used: set[str] = set()

    def read(self, value: object) -> list[Data]:
        entries = value if isinstance(value, list) else [value]
        layers = [layer for entry in entries for layer in self._entry(entry)]
        unused = [kind for kind in self.options if kind not in self.used]
        if unused:
            raise FormatError(f"options are given for {unused[0]!r}, which no layer uses")
        return layers

    def _entry(self, entry: object) -> list[Data]:
        if isinstance(entry, str):
            return [self._layer({"mixer": name}) for name in expand(entry)]
        if isinstance(entry, list):
            return [layer for item in entry for layer in self._entry(item)]
        if isinstance(entry, Mapping):
            return [self._layer(entry)]
        raise FormatError(
            f"layer {entry!r}: a layer is a mixer's name, a pattern, or a mapping of "
            f"{', '.join(_LAYER_KEYS)}"
        )

    def _layer(self, entry: Mapping[str, object]) -> Data:
        for key in entry:
            if key not in _LAYER_KEYS:
                raise FormatError(f"layer: {_unknown_key(key, _LAYER_KEYS)}")
        if "mixer" not in entry:
            raise FormatError(f"layer {dict(entry)!r} has no mixer")
        channel = entry.get("channel", self.channel)
        return {
            "mixer": self._choice("mixer", entry["mixer"], entry.get("options")),
            "channel": self._choice("channel", channel, entry.get("channel_options")),
        }

    def _choice(self, role: str, value: object, options: object) -> Data:
        inner: object = None
        if isinstance(value, Mapping):
            for key in value:
                if key not in _CHOICE_KEYS:
                    raise FormatError(f"{role}: {_unknown_key(key, _CHOICE_KEYS)}")
            inner, value = value.get("options"), value.get("kind")
        if not isinstance(value, str):
            raise FormatError(f"{role} is {value!r}: it is a component's name")
        self.used.add(value)
        given = {**_mapping(f"{role} options", inner), **_mapping(f"{role} options", options)}
        return {"kind": value, "options": {**self.options.get(value, {}), **given}}
