"""The generated file as a text: what it holds, what it can not be made to hold, how it is made."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import arcfusion
from arcfusion.core.blocks import load_component
from arcfusion.core.codegen import generate, generator, scaling
from arcfusion.core.codegen.layout import quote_for_docstring
from arcfusion.core.codegen.linker import LinkError, Replacement, Symbol, link
from arcfusion.core.codegen.source import SourceError
from arcfusion.core.model_file import build_from_file, check_model_source
from arcfusion.core.spec import ArchSpec, preset_names

ROOT = Path(__file__).resolve().parents[2]
EVERY_COMPONENT = """
d_model: 16
layers: [mha, gqa, mqa, {mixer: linear_attention, channel: swiglu}, mamba1]
channel: mlp
"""
OTHER_FRAME = EVERY_COMPONENT + "norm: layernorm\nposition: learned\ntied_head: false\n"


def run(text: str) -> ModuleType:
    module = ModuleType("generated")
    exec(compile(text, "generated.py", "exec"), module.__dict__)
    return module


def test_it_runs_where_only_torch_and_the_standard_library_are(monkeypatch):
    text = generate(ArchSpec.from_yaml(OTHER_FRAME))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert "torch" in imported
    assert imported - {"torch"} <= sys.stdlib_module_names
    for name in ("arcfusion", "pydantic", "numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run(text).build()(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 256)


def test_it_is_a_model_file_whose_defaults_are_the_sizes_of_the_spec(tmp_path):
    spec = ArchSpec.from_yaml("{d_model: 32, layers: '[gqa, mamba1] * 2', channel: mlp}")
    path = tmp_path / "model.py"
    path.write_text(generate(spec))
    check_model_source(path.read_text(), name="model.py")
    ids = torch.zeros(1, 2, dtype=torch.int64)
    assert build_from_file(path)(ids).shape == (1, 2, 256)
    assert build_from_file(path, vocab_size=5, d_model=16, n_layers=1)(ids).shape == (1, 2, 5)


def test_the_same_spec_gives_the_same_text_and_the_name_changes_the_docstring_only():
    spec = ArchSpec.preset("hybrid")
    text = generate(spec)
    assert text == generate(ArchSpec.from_yaml(spec.to_yaml()))
    assert spec.digest() in text
    renamed = generate(spec.replaced(name="other"))
    assert renamed != text
    assert ast.dump(ast.parse(text).body[1]) == ast.dump(ast.parse(renamed).body[1])
    assert text.split('"""', 2)[2] == renamed.split('"""', 2)[2]


@pytest.mark.parametrize(
    "name",
    [
        '"""',
        "\"\"\"'''",
        "\\",
        '\\"""',
        'a\\n"""import os',
        "{spec}",
        "\u2028",
        "\u00e9 \U0001f600",
        "# x",
    ],
)
def test_a_hostile_name_stays_inside_the_docstring(name):
    spec = ArchSpec.from_yaml("{d_model: 8, layers: [mqa], channel: mlp}")
    tree = ast.parse(generate(spec.replaced(name=name)))
    assert ast.get_docstring(tree, clean=False).startswith(f"{name}: a causal language model")
    assert [ast.dump(node) for node in tree.body[1:]] == [
        ast.dump(node) for node in ast.parse(generate(spec)).body[1:]
    ]


@given(st.text())
def test_quoted_text_is_one_ascii_string_and_reads_back_the_same(text):
    quoted = quote_for_docstring(text)
    assert quoted.isascii()
    assert ast.literal_eval(f'"""{quoted}."""') == f"{text}."


def test_only_what_the_architecture_needs_is_copied():
    text = generate(
        ArchSpec.from_yaml("{d_model: 16, layers: [mha], channel: mlp, position: none}")
    )
    defined = {
        n.name for n in ast.parse(text).body if isinstance(n, ast.ClassDef | ast.FunctionDef)
    }
    assert {"Attention", "MLP", "RMSNorm", "Network", "build"} <= defined
    assert not {"Mamba1", "SwiGLU", "LayerNorm", "LinearAttention", "selective_scan"} & defined
    assert not {name for name in defined if "Options" in name or "Component" in name}


def test_the_pattern_is_written_once_and_repeated():
    module = run(generate(ArchSpec.preset("hybrid")))
    assert [kind.__name__ for kind in module.PATTERN] == ["mamba1_mlp_layer", "mha_mlp_layer"]
    assert len(module.build().layers) == 4
    uneven = ArchSpec.from_yaml("{d_model: 16, layers: [mha, mqa, mha], channel: mlp}")
    assert len(run(generate(uneven)).PATTERN) == 3


def test_layers_that_differ_in_options_only_are_numbered():
    text = """
    d_model: 16
    layers: [mha, {mixer: mha, options: {n_heads: 2}}, {mixer: mha, channel_options: {ratio: 2.0}}]
    channel: mlp
    """
    names = [kind.__name__ for kind in run(generate(ArchSpec.from_yaml(text))).PATTERN]
    assert names == ["mha_mlp_layer", "mha_mlp_layer_2", "mha_mlp_layer_3"]


def test_a_size_that_follows_no_law_keeps_the_width_of_the_spec(monkeypatch):
    mlp = load_component("mlp")
    odd = dataclasses.replace(
        mlp, arguments=lambda _options, d_model, _spec: {"d_model": d_model, "d_hidden": d_model**2}
    )
    monkeypatch.setattr(
        scaling, "load_component", lambda kind: odd if kind == "mlp" else load_component(kind)
    )
    build = run(generate(ArchSpec.from_yaml("{d_model: 16, layers: [mha], channel: mlp}"))).build
    assert build().layers[0].channel.up_proj.weight.shape == (256, 16)
    with pytest.raises(ValueError, match="d_model is 32: allowed is 16"):
        build(d_model=32)


def test_presets_and_all_components_are_formatted_and_free_of_lint(tmp_path):
    texts = [generate(ArchSpec.preset(name)) for name in preset_names()]
    texts += [generate(ArchSpec.from_yaml(text)) for text in (EVERY_COMPONENT, OTHER_FRAME)]
    for index, text in enumerate(texts):
        (tmp_path / f"generated_{index}.py").write_text(text)
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(tmp_path)]
    for command in (["format", "--check", *settings], ["check", *settings]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_all_components_pass_mypy_strict(tmp_path):
    names = []
    for index, text in enumerate((EVERY_COMPONENT, OTHER_FRAME)):
        names.append(str(tmp_path / f"generated_{index}.py"))
        Path(names[-1]).write_text(generate(ArchSpec.from_yaml(text)))
    # The repository's settings (strict) and cache: a minute without what `make check` left there.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_a_component_that_defines_a_name_of_the_generated_part_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(arcfusion, "__path__", [*arcfusion.__path__, str(tmp_path)])
    (tmp_path / "clash.py").write_text("class PATTERN:\n    pass\n")
    clash = dataclasses.replace(load_component("mlp"), factory="arcfusion.clash:PATTERN")
    monkeypatch.setattr(
        generator, "load_component", lambda kind: clash if kind == "mlp" else load_component(kind)
    )
    with pytest.raises(LinkError, match="'PATTERN'"):
        generate(ArchSpec.from_yaml("{d_model: 16, layers: [mha], channel: mlp}"))


class TestLinking:
    @pytest.fixture
    def add(self, tmp_path, monkeypatch):
        """Give the package modules that exist in this test only."""
        monkeypatch.setattr(arcfusion, "__path__", [*arcfusion.__path__, str(tmp_path)])

        def add(name, text):
            (tmp_path / f"{name}.py").write_text(text)
            return f"arcfusion.{name}"

        return add

    def test_what_is_needed_comes_first_with_its_comments_and_the_rest_stays_away(self, add):
        add("lower", '"""Lower."""\n\n# Why three.\nTHREE = 3\n\n\ndef unused():\n    pass\n')
        module = add(
            "upper",
            '"""Upper.\n\nLegend."""\nfrom arcfusion.lower import THREE as N\n\n\n'
            "def double(x: int = N) -> int:\n    return 2 * x  # two\n",
        )
        linked = link([Symbol(module, "double")], {})
        assert linked.text == (
            "# Lower.\n\n# Why three.\nTHREE = 3\n\n\n# Upper.\n#\n# Legend.\n\n\n"
            "def double(x: int = THREE) -> int:\n    return 2 * x  # two"
        )
        assert linked.imports == {}
        assert linked.names[Symbol(module, "double")] == "double"

    def test_two_things_of_one_name_get_the_names_of_their_modules(self, add):
        roots = [
            Symbol(add(f"block_{i}", f"SIZE = {i}\n\n\ndef size():\n    return SIZE\n"), "size")
            for i in (1, 2)
        ]
        linked = link(roots, {})
        module = run(linked.text)
        assert [getattr(module, linked.names[root])() for root in roots] == [1, 2]
        assert module.BLOCK_2_SIZE == 2

    def test_a_name_that_is_local_too_is_not_changed_but_refused(self, add):
        first = add("first", "SIZE = 1\n")
        second = add("second", "SIZE = 2\n\n\ndef f(SIZE=SIZE):\n    return SIZE\n")
        with pytest.raises(SourceError, match="'SIZE' is an argument and a global"):
            link([Symbol(first, "SIZE"), Symbol(second, "f")], {})

    def test_a_replacement_takes_the_name_and_the_overloads(self, add):
        signature = (
            "def scan(\n    x: {t},\n    *,\n    y: int = 0,\n    backend: str = '',\n) -> {t}"
        )
        overloads = [f"@overload\n{signature.format(t=t)}: ...\n\n\n" for t in ("int", "str")]
        implementation = "def scan(x, *, y=0, backend=''):\n    return backend\n"
        api = add("api", "from typing import overload\n\n\n" + "".join(overloads) + implementation)
        chunked = add("chunked", "def scan_chunked(x, *, y=0):\n    return x\n")
        user = add("user", "from arcfusion.api import scan\n\n\ndef use():\n    return scan(4)\n")
        replacement = Replacement(Symbol(chunked, "scan_chunked"), without="backend")
        linked = link([Symbol(user, "use")], {Symbol(api, "scan"): replacement})
        assert "backend" not in linked.text
        assert linked.text.count("def scan(") == 3
        module = ModuleType("linked")
        exec("from typing import overload\n" + linked.text, module.__dict__)
        assert module.use() == 4

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("import numpy as np\n\n\ndef f():\n    return np\n", "needs numpy"),
            ("from pydantic import Field\n\nf = Field(1)\n", "needs pydantic.Field"),
            ("from arcfusion.core.errors import nothing\n\nf = nothing\n", "does not define"),
            ("g = 1\n", "does not define 'f'"),
            ("from math import pi as f\n", "outside this package"),
        ],
    )
    def test_what_can_not_stand_alone_is_refused(self, add, text, message):
        with pytest.raises(LinkError, match=message):
            link([Symbol(add("lonely", text), "f")], {})

    def test_one_name_for_two_imports_is_refused(self, add):
        first = add("one_import", "import math as m\n\nf = m.pi\n")
        second = add("two_import", "import cmath as m\n\ng = m.pi\n")
        with pytest.raises(LinkError, match="import it under another name"):
            link([Symbol(first, "f"), Symbol(second, "g")], {})

    def test_a_module_that_is_not_there_is_an_error(self):
        with pytest.raises(SourceError, match="has no source"):
            link([Symbol("arcfusion.nothing", "f")], {})
