"""Which files of this project import which, read from their text."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.factories import ROOT


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the modules a file imports, inside functions too, but not those imported for type checking alone."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = [*package[: -node.level], node.module] if node.level else [node.module]
            module = ".".join(part for part in parts if part)
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def files_of(module: str) -> Iterator[Path]:
    """Yield the files that importing a module of ours executes: packages' __init__.py and itself."""
    parts = module.split(".")
    if parts[0] in ("frcnn", "stages"):
        for end in range(1, len(parts) + 1):
            base = ROOT.joinpath(*parts[:end])
            yield from (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())


@cache
def imports_of(path: Path) -> frozenset[Path]:
    return frozenset(file for module in imported_modules(path) for file in files_of(module))


def closure(*starts: str) -> set[str]:
    """Return every file of ours that these files import, directly or not, and themselves."""
    seen: set[Path] = set()
    waiting = [ROOT / start for start in starts]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += imports_of(path)
    return {path.relative_to(ROOT).as_posix() for path in seen}
