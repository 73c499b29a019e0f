"""`frcnn check`: every problem of a dataset, and what training does about it."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import options
from .terminal.advice import print_figures, print_fit
from .terminal.console import cell, console, plural, progress, say

if TYPE_CHECKING:
    from rich.table import Table

    from frcnn.data.checks import CheckReport, SplitCounts
    from frcnn.data.voc.problems import Problem
    from frcnn.params import Params

ACTIONS = ("refuse", "drop", "clip", "note")  # most severe first
LISTED, FEW = ("refuse", "drop"), 5  # all of these are listed, of each other kind the first
WHOLE = 40  # characters of a place that are not broken into lines
PIPE_WIDTH = 200  # columns where the output is not a terminal


def run(
    folder: Annotated[
        Path, typer.Argument(help="Dataset in VOC layout, or a folder that holds several.")
    ] = options.DATASET,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    workers: options.Workers = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Also propose parameters that fit, and time a training step.")
    ] = False,
    render: Annotated[
        int, typer.Option("--render", min=0, metavar="N", help="Also draw the objects of N pictures to train on.")
    ] = 0,
    renders: Annotated[
        Path, typer.Option("--renders", metavar="FOLDER", help="Folder of these pictures; replaced as a whole.")
    ] = Path("data/checks"),
) -> None:
    """Read a dataset in VOC layout, list its problems and contents; write pictures if asked; exit 1 if refused."""
    from frcnn.data.checks import joint_problems
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.errors import UserError
    from frcnn.params import load_params
    from frcnn.sources.layout import find_roots

    params = load_params(params_file, overrides or ())
    if folder.is_file():
        raise UserError(f"{folder}: is a file; unpack the archive, or run `frcnn download` and check data/dataset")
    single = not folder.is_dir() or any((folder / part).is_dir() for part in ("Annotations", "JPEGImages", "ImageSets"))
    datasets = [VocDataset(folder)] if single else find_roots(folder)
    workers = (os.cpu_count() or 1) if workers is None else workers
    reports = {dataset.root: _check(dataset.root, params, workers) for dataset in datasets}
    joint = joint_problems(list(reports.values()), params.splits)  # `download` joins the datasets
    for root, report in reports.items():
        report.problems.extend(joint)
        _print(root, report, params)
        if fit and report.training and not _is_refused(report):
            print_fit(VocDataset(root), params, workers)
        if render:
            _render(report, params, render, renders if single else renders / root.relative_to(folder))
    if any(_is_refused(report) for report in reports.values()):
        raise typer.Exit(1)


def check_briefly(root: Path, params: "Params", workers: int) -> bool:
    """Print the problems of a dataset by kind, and a summary; return whether training takes it."""
    from frcnn.data.checks import joint_problems

    report = _check(root, params, workers)
    report.problems.extend(joint_problems([report], params.splits))
    refused = _is_refused(report)
    for table in _problem_tables(report.problems)[0 if refused else 1 :]:
        console.print(table)
    _say_summary(root, report)
    return not refused


def _check(root: Path, params: "Params", workers: int) -> "CheckReport":
    from frcnn.data.checks import check_dataset

    with progress() as bar:
        task = bar.add_task("check", total=None)
        return check_dataset(root, params, workers, lambda done, total: bar.update(task, completed=done, total=total))


def _print(root: Path, report: "CheckReport", params: "Params") -> None:
    from rich.console import Console

    out = console if console.is_terminal else Console(width=PIPE_WIDTH)
    for table in [*_problem_tables(report.problems), _count_table(report)]:
        out.print(table)
    print_figures(report.training, report.class_names, params)
    _say_summary(root, report)


def _is_refused(report: "CheckReport") -> bool:
    return any(problem.action == "refuse" for problem in report.problems)


def _render(report: "CheckReport", params: "Params", count: int, folder: Path) -> None:
    """Draw the first pictures of the training split in a seeded random order, with their objects."""
    from frcnn.fonts import remark_on_letters
    from frcnn.report.drawing import draw_objects
    from frcnn.report.renders import OVERVIEW, random_order, write_renders

    chosen = [report.training[i] for i in random_order(len(report.training), params.render.seed)[:count]]
    legend = {"dashed": "object"}
    write_renders(folder, chosen, lambda picture, each: draw_objects(picture, each, report.class_names), legend)
    if remark := remark_on_letters(report.class_names):
        say(f"{folder}: {remark}")
    total = plural(len(report.training), f"{params.splits.train} picture")
    say(f"{folder}: {len(chosen)} of {total}; {folder / OVERVIEW} shows them together")


def _problem_tables(problems: Sequence["Problem"]) -> list["Table"]:
    """Return a table of all problems, most severe first, and one of their totals; nothing if there are none."""
    from rich.box import SIMPLE
    from rich.table import Table

    if not problems:
        return []
    ordered = sorted(problems, key=lambda problem: (ACTIONS.index(problem.action), problem.kind.name, problem.file))
    rows = Table("file", "object or line", "what", "training will", title="Problems", box=SIMPLE, title_justify="left")
    totals = Table(
        "problem", "training will", "count", "how to fix", title="Problems by kind", box=SIMPLE, title_justify="left"
    )
    totals.columns[2].justify = "right"
    for column in rows.columns:
        column.overflow = "fold"
    for kind, group in groupby(ordered, key=lambda problem: problem.kind):
        members = list(group)
        shown = members if kind.action in LISTED or len(members) <= FEW + 1 else members[:FEW]
        for problem in shown:
            rows.add_row(*(cell(text) for text in (problem.file, problem.where, problem.what, problem.action)))
        if len(members) > len(shown):
            rows.add_row("", "", f"and {len(members) - len(shown)} more: {kind.name}", kind.action)
        rows.add_section()
        totals.add_row(kind.name, kind.action, str(len(members)), kind.mend)
    for column, texts in ((rows.columns[0], (p.file for p in ordered)), (rows.columns[1], (p.where for p in ordered))):
        column.no_wrap = max(map(len, texts)) <= WHOLE
    return [rows, totals]


def _count_table(report: "CheckReport") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="Contents: objects / images with objects / difficult objects", box=SIMPLE, title_justify="left")
    table.add_column("class")
    for split in report.splits:
        table.add_column(cell(split), justify="right")
    for name in report.class_names:
        counts = [split.classes[name] for split in report.splits.values()]
        table.add_row(cell(name), *(f"{c.objects} / {c.images} / {c.difficult}" for c in counts))
    table.add_section()
    table.add_row("all", *(_sum_of(split) for split in report.splits.values()))
    table.add_row("images", *(str(split.images) for split in report.splits.values()))
    table.add_row("images without objects", *(str(split.empty) for split in report.splits.values()))
    return table


def _sum_of(split: "SplitCounts") -> str:
    counts = split.classes.values()
    objects, difficult = sum(count.objects for count in counts), sum(count.difficult for count in counts)
    return f"{objects} / {split.images - split.empty} / {difficult}"


def _say_summary(folder: Path, report: "CheckReport") -> None:
    from frcnn.data.voc.problems import MARKER

    if report.problems and (folder / MARKER).exists():
        say(f"mend this in download.source: `frcnn download` makes {folder} anew")
    counts = [(action, sum(problem.action == action for problem in report.problems)) for action in ACTIONS]
    found = ", ".join(f"{action} {count}" for action, count in counts if count) or "none"
    verdict = "training would refuse it" if _is_refused(report) else "training would take it"
    if not (folder / "classes.txt").exists() and not _is_refused(report):
        verdict += " once `frcnn download` has written classes.txt"
    say(
        f"{folder}: {plural(report.pictures, 'picture')}, {plural(len(report.splits), 'split')}, "
        f"{len(report.class_names)} {'class' if len(report.class_names) == 1 else 'classes'}; "
        f"problems: {found}; {verdict}"
    )
