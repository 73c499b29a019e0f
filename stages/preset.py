"""Command `preset`: write a complete, commented parameter file."""

from pathlib import Path
from typing import Annotated

import typer

from frcnn.errors import UserError

from .terminal.console import say


def run(
    name: Annotated[str, typer.Argument(help="default, demo, finetune or reference.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")] = Path("params.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Read a preset, write params.yaml with its values: every parameter with its comment."""
    from frcnn.files import write_text
    from frcnn.presets import commented_params

    text = commented_params(name)
    if out.exists() and not force:
        raise UserError(f"{out}: exists; add --force to replace it, or name another file with --out")
    write_text(out, text)
    say(f"{out}: the parameters of the preset {name}")
