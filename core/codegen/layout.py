"""How generated lines look: the way `ruff format` would write them."""

from collections.abc import Mapping, Sequence

LINE_LENGTH = 100
INDENT = "    "


def write_list(
    opening: str, items: Sequence[str], closing: str, *, depth: int = 0, is_literal: bool = False
) -> str:
    """Write `opening item, item closing` on one line, on three, or one item a line.

    Args:
        opening: what stands before the items, such as "x = f(".
        items: expressions of one line or more.
        closing: what stands after them, such as ")".
        depth: of the indentation.
        is_literal: a tuple, not arguments: three lines are not a form of it.
    """
    margin, inner = INDENT * depth, INDENT * (depth + 1)
    joined = ", ".join(items)
    if "\n" not in joined:
        if len(margin + opening + joined + closing) <= LINE_LENGTH:
            return f"{margin}{opening}{joined}{closing}"
        if len(inner + joined) <= LINE_LENGTH and not is_literal:
            return f"{margin}{opening}\n{inner}{joined}\n{margin}{closing}"
    lines = "".join(f"{inner}{item.lstrip()},\n" for item in items)
    return f"{margin}{opening}\n{lines}{margin}{closing}"


def write_imports(imports: Mapping[str, str]) -> str:
    """Write imports, the standard library first.

    Args:
        imports: dotted path by local name.
    """
    sections = []
    for is_torch in (False, True):
        plain, members = [], dict[str, list[tuple[str, str]]]()
        for local, path in imports.items():
            if (path.partition(".")[0] == "torch") != is_torch:
                continue
            module, _, name = path.rpartition(".")
            if module:
                members.setdefault(module, []).append((name, local))
            else:
                plain.append(f"import {path}" + ("" if path == local else f" as {local}"))
        lines = sorted(plain)
        for module, names in sorted(members.items()):
            # isort's order: CONSTANTS, Classes, functions.
            names.sort(key=lambda n: (not n[0].isupper(), not n[0][0].isupper(), n))
            listed = [name if name == local else f"{name} as {local}" for name, local in names]
            lines += [f"from {module} import {', '.join(listed)}"]
        sections += ["\n".join(lines)] if lines else []
    return "\n\n".join(sections)


def quote_for_docstring(text: str) -> str:
    """Return text from outside for use between triple quotes: it can not end the string."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
