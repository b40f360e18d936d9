"""Copy definitions out of this package into one text that runs without it.

Source text is read and never run. Definitions keep their comments and docstrings; modules follow
each other in dependency order, each led by its docstring as a comment. Names from the standard
library and from torch become imports; any other import is an error.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from arcfusion.core.codegen.source import SourceModule, names_in, read_module, write_definition
from arcfusion.core.errors import ArcFusionError

PACKAGE = "arcfusion."
ALLOWED_ROOTS = sys.stdlib_module_names | {"torch"}


class LinkError(ArcFusionError):
    """A component's source can not stand alone."""


class Symbol(NamedTuple):
    """A top-level name of a module of this package."""

    module: str
    name: str


class Replacement(NamedTuple):
    """What is copied in place of a symbol, under the symbol's own name.

    Attributes:
        symbol: what is copied. If the replaced symbol has overloads, they are copied before it.
        without: an argument of the replaced symbol that `symbol` does not have.
    """

    symbol: Symbol
    without: str


class Linked(NamedTuple):
    """The definitions' text; the dotted path of each imported name; each symbol's name."""

    text: str
    imports: dict[str, str]
    names: dict[Symbol, str]


def link(roots: Iterable[Symbol], replacements: Mapping[Symbol, Replacement]) -> Linked:
    """Return the roots' definitions and all that they need, as text.

    Args:
        roots: where a name is imported from, or defined; later ones come later in the text.
        replacements: by the symbol that is not copied.

    Raises:
        LinkError: a definition is missing, needs a package other than torch, or has a name that
            something else has too and that can not be changed.
    """
    linker = _Linker(replacements)
    roots = list(roots)
    symbols = [linker.resolve(root) for root in roots]
    for symbol in symbols:
        linker.collect(symbol)
    names = linker.choose_names()
    text = "\n\n\n".join(
        linker.write_module(module, names) for module in linker.module_order(symbols)
    )
    given = {root: names[symbol] for root, symbol in zip(roots, symbols, strict=True)}
    return Linked(text, linker.imports, names | given)


class _Linker:
    """Collects symbols; `needs` holds, for each, what its local names stand for."""

    def __init__(self, replacements: Mapping[Symbol, Replacement]) -> None:
        self.imports: dict[str, str] = {}
        self._replacements = replacements
        self._replaced: dict[Symbol, Symbol] = {}
        self._modules: dict[str, SourceModule] = {}
        self._needs: dict[Symbol, dict[str, Symbol]] = {}

    def resolve(self, symbol: Symbol) -> Symbol:
        """Follow imports from module to module to where the name is defined, or replaced."""
        module = self._load(symbol.module)
        if symbol.name in module.definitions:
            replacement = self._replacements.get(symbol)
            if replacement is None:
                return symbol
            self._replaced[replacement.symbol] = symbol
            return replacement.symbol
        path = module.imports.get(symbol.name)
        if path is None:
            raise LinkError(f"{symbol.module} does not define {symbol.name!r}")
        if not path.startswith(PACKAGE):
            raise LinkError(f"{symbol.name!r} of {symbol.module} is {path}, outside this package")
        target, _, name = path.rpartition(".")
        return self.resolve(Symbol(target, name))

    def collect(self, symbol: Symbol) -> None:
        """Note a definition and everything that it needs."""
        if symbol in self._needs:
            return
        self._needs[symbol] = {}
        self._collect_names(symbol, self._load(symbol.module), self._definition(symbol))
        if symbol in self._replaced:
            original = self._replaced[symbol]
            self._collect_names(symbol, self._load(original.module), self._overloads(symbol))

    def _collect_names(self, symbol: Symbol, module: SourceModule, nodes: list[ast.stmt]) -> None:
        for name in sorted(names_in(nodes)):
            path = module.imports.get(name)
            if name in module.definitions or (path is not None and path.startswith(PACKAGE)):
                target = self.resolve(Symbol(module.name, name))
                self._needs[symbol][name] = target
                self.collect(target)
            elif path is not None:
                self._import(symbol, name, path)

    def _import(self, symbol: Symbol, name: str, path: str) -> None:
        if path.partition(".")[0] not in ALLOWED_ROOTS:
            raise LinkError(
                f"{symbol.name!r} of {symbol.module} needs {path}: a component's module may import "
                "torch, the standard library, and definitions that need no more than these"
            )
        if self.imports.setdefault(name, path) != path:
            raise LinkError(
                f"{name!r} is {path} in {symbol.module} and {self.imports[name]} elsewhere: "
                "import it under another name"
            )

    def choose_names(self) -> dict[Symbol, str]:
        """Give each symbol its own name, or, where two share one, the module's name and its own."""
        names: dict[Symbol, str] = {}
        taken = set(self.imports)
        for symbol in sorted(self._needs):
            name = self._replaced.get(symbol, symbol).name
            if name in taken:
                leaf = symbol.module.rpartition(".")[2]
                name = f"{leaf.upper() if name.isupper() else leaf}_{name.lstrip('_')}"
            if name in taken:
                raise LinkError(f"{symbol.name!r} of {symbol.module}: the name {name!r} is taken")
            taken.add(name)
            names[symbol] = name
        return names

    def module_order(self, roots: Iterable[Symbol]) -> list[str]:
        """Return the modules of what was collected, each after those that it needs.

        Modules of this package do not import each other in circles (import-linter checks it).
        """
        needed: dict[str, set[str]] = {}
        for symbol, local in self._needs.items():
            needed.setdefault(symbol.module, set()).update(n.module for n in local.values())
        order: list[str] = []
        visited: set[str] = set()

        def visit(module: str) -> None:
            if module not in visited:
                visited.add(module)
                for before in sorted(needed[module]):
                    visit(before)
                order.append(module)

        for root in roots:
            visit(root.module)
        return order

    def write_module(self, name: str, names: Mapping[Symbol, str]) -> str:
        """Write the collected definitions of a module in the order of its source."""
        module = self._load(name)
        text = "\n".join(f"# {line}".rstrip() for line in module.docstring.splitlines())
        gap = "\n\n"
        for definition in module.definitions:
            symbol = Symbol(name, definition)
            if symbol not in self._needs:
                continue
            is_constant = isinstance(self._definition(symbol)[0], ast.Assign | ast.AnnAssign)
            text += (gap if is_constant else "\n\n\n") + self._write(symbol, names)
            gap = "\n" if is_constant else "\n\n\n"
        return text

    def _write(self, symbol: Symbol, names: Mapping[Symbol, str]) -> str:
        local = {name: names[target] for name, target in self._needs[symbol].items()}
        module = self._load(symbol.module)
        new_names = {**local, symbol.name: names[symbol]}
        parts = [write_definition(module, node, new_names) for node in self._definition(symbol)]
        original = self._replaced.get(symbol)
        if original is not None:
            source = self._load(original.module)
            without = self._replacements[original].without
            new_names = {**local, original.name: names[symbol]}
            parts = [
                *(
                    write_definition(source, node, new_names, without=without)
                    for node in self._overloads(symbol)
                ),
                *parts,
            ]
        return "\n\n\n".join(parts)

    def _definition(self, symbol: Symbol) -> list[ast.stmt]:
        return self._load(symbol.module).definitions[symbol.name]

    def _overloads(self, symbol: Symbol) -> list[ast.stmt]:
        """Return the overloads of what a symbol replaces, unless it has its own."""
        if len(self._definition(symbol)) > 1:
            return []
        original = self._replaced[symbol]
        return self._definition(original)[:-1]

    def _load(self, module: str) -> SourceModule:
        if module not in self._modules:
            self._modules[module] = read_module(module)
        return self._modules[module]
