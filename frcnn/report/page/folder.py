"""The folder of a report: the page, and its figures and tables for papers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frcnn.errors import UserError
from frcnn.files import atomic_folder, write_text
from frcnn.report.page.content import Content
from frcnn.report.page.figures_for_papers import write_figures, write_tables
from frcnn.report.page.html import page_html

PAGE, FIGURES, SUMMARY = "index.html", "figures", "summary.json"


def read_summary(metrics: Path) -> dict[str, Any]:
    """Return what `frcnn evaluate` wrote, nothing if it did not run.

    Raises:
        UserError: the file is none of its.
    """
    path = metrics / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not as `frcnn evaluate` writes it ({error}); run it again") from error
    return summary


def write_report(folder: Path, content: Content, before_end: Callable[[], None] = lambda: None) -> None:
    """Write a report into a folder, which is replaced as a whole.

    Args:
        folder: where to write; if it is not empty it must hold a page.
        content: what to show.
        before_end: called before the folder is replaced; may raise.

    Raises:
        UserError: the folder holds something else or cannot be written.
    """
    with atomic_folder(folder, PAGE) as scratch:
        new = scratch / "new"
        write_text(new / PAGE, page_html(content))
        write_tables(new, content)
        write_figures(new / FIGURES, content)
        before_end()
