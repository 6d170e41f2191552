"""Makes the API reference from signatures and docstrings; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PAGES = {
    "dataflare": ("sdk/dataflare", "What the author of a plugin imports: `from dataflare import …`."),
    "dataflare.testing": ("sdk/dataflare/testing", "Testing components: `from dataflare.testing import …`."),
    "dataflare_flow": ("plugins/flow/dataflare_flow", "Flows in Python: `from dataflare_flow import Flow`."),
    "dataflare_host": (
        "host/dataflare_host",
        "What bundles and programs use of the host: `from dataflare_host import …`.",
    ),
}
MAPS = ("_EXPORTS", "_HOME")
"""The tables, module → names, by which a package loads its names late."""
LISTED = {"dataflare": {"resource": ("resource",), "state": ("state",)}}
"""Names that a table leaves out, by module."""


def pages(root: Path) -> dict[str, str]:
    """File name → text of every page of the reference."""
    made = {f"{name}.md": _page(root, name, folder, summary) for name, (folder, summary) in PAGES.items()}
    links = "\n".join(f"- [`{name}`]({name}.md): {summary}" for name, (_, summary) in PAGES.items())
    return {"README.md": f"# API reference\n\nMade from the docstrings by `docs/build.py`.\n\n{links}\n", **made}


def _page(root: Path, name: str, folder: str, summary: str) -> str:
    parts = [f"# `{name}`", summary]
    for module, names in sorted(_exports(root / folder, name).items()):
        tree = _tree(_file(root / folder, module))
        told = _constants(tree)
        for public in names:
            meant = [node for node in tree.body if isinstance(node, _DEFINITIONS) and node.name == public]
            if meant:
                parts += _definition(meant[-1], meant)
            elif public in told:
                parts += [f"## {public}", told[public]]
    return "\n\n".join(parts) + "\n"


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def _file(folder: Path, module: str) -> Path:
    path = folder / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exports(folder: Path, package: str) -> dict[str, list[str]]:
    """Module → the names that the package exports from it."""
    found: dict[str, list[str]] = {module: list(names) for module, names in LISTED.get(package, {}).items()}
    for node in _tree(folder / "__init__.py").body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}."):
            module = node.module.removeprefix(f"{package}.")
            found.setdefault(module, []).extend(alias.name for alias in node.names)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in MAPS:
            for module, names in _literal(node.value).items():
                found.setdefault(module, []).extend(names.split())
    return found


def _literal(node: ast.expr) -> dict[str, str]:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _constants(tree: ast.Module) -> dict[str, str]:
    """Name → what the text below its assignment says."""
    told: dict[str, str] = {}
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(following, ast.Expr):
            text = following.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                told[node.targets[0].id] = _doc(text.value)
    return told


def _definition(node: Definition, overloads: list[Definition]) -> Iterator[str]:
    if not isinstance(node, ast.ClassDef):
        ways = [each for each in overloads if not isinstance(each, ast.ClassDef)]
        widest = max(ways, key=lambda way: len(ast.unparse(way.args)))
        yield f"## {node.name}"
        yield _code(_signature(widest, skip_self=False))
        yield _doc(ast.get_docstring(node))
        return
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"## {node.name}"
    yield _code(f"class {node.name}({bases})" if bases else f"class {node.name}")
    yield _doc(ast.get_docstring(node))
    fields = "\n".join(f"{ast.unparse(each)}" for each in node.body if isinstance(each, ast.AnnAssign) and _shown(each))
    if fields:
        yield _code(fields)
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and not each.name.startswith("_"):
            text = _doc(ast.get_docstring(each))
            named = each.name if _is_property(each) else _signature(each, skip_self=True)
            yield f"**`{named}`**" + (f"\n: {text}".replace("\n: ", "  \n") if text else "")


def _shown(field: ast.AnnAssign) -> bool:
    return isinstance(field.target, ast.Name) and not field.target.id.startswith("_") and len(ast.unparse(field)) < 200


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(each).endswith("property") for each in node.decorator_list)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, skip_self: bool) -> str:
    given = ast.unparse(node.args)
    if skip_self:
        first = node.args.posonlyargs + node.args.args
        given = ", ".join(given.split(", ")[1:]) if first and first[0].arg in ("self", "cls") else given
    if given == "*args: Any, **kwargs: Any":
        given = "…"  # asked for by name: the docstring says which names there are
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({given}){answer}"


def _code(text: str) -> str:
    return f"```text\n{text}\n```"


def _doc(text: str | None) -> str:
    """A docstring as Markdown: what follows ``::`` is code, double backquotes become single ones."""
    lines, code = [], False
    for line in (text or "").strip().splitlines():
        if line.strip() == "::":
            lines.append("```text")
            code = True
            continue
        if code and line and not line.startswith(" "):
            while lines and not lines[-1]:
                lines.pop()
            lines += ["```", ""]
            code = False
        if code and not line and lines[-1] == "```text":
            continue
        lines.append(line.removeprefix("    ") if code else line.replace("``", "`"))
    return "\n".join([*lines, *(["```"] if code else [])])
