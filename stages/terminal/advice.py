"""Print what the parameters mean for a dataset, and parameters that fit it: `frcnn check` and `frcnn init`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .console import cell, console, plural, say

if TYPE_CHECKING:
    from rich.table import Table

    from frcnn.advice.figures import Figures
    from frcnn.advice.proposals import Proposal
    from frcnn.advice.timing import Timing
    from frcnn.data.voc.annotation import Annotation
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.params import Params

BAR = 20  # columns of the longest bar


def print_figures(annotations: Sequence["Annotation"], class_names: Sequence[str], params: "Params") -> None:
    """Print the figures of the training split, unless it shows no object."""
    from frcnn.advice.figures import figures_of

    figures = figures_of(annotations, class_names, params) if annotations else None
    if figures is None or not figures.total.objects:
        return
    console.print(_coverage_table(f"Objects of {params.splits.train} after resizing, and their anchors", figures))
    _say_sums(figures, params)


def print_fit(dataset: "VocDataset", params: "Params", workers: int, written: bool = False) -> "Params":
    """Print proposals for other parameters and how long training takes with them; return the parameters with them.

    Args:
        written: whether they go into params.yaml, so that the user has nothing to do.

    Raises:
        UserError: there is no such split, it has no picture to be read, or no step can be timed.
    """
    from frcnn.advice.fit import advise
    from frcnn.advice.machine import this_machine
    from frcnn.advice.timing import time_training

    advice = advise(dataset, params, this_machine(), workers)
    if advice.proposals:
        title = "Written to params.yaml, in place of the preset's values" if written else "Proposals"
        console.print(_proposal_table(title, advice.proposals))
        if not written:
            say(f"to try them: {' '.join(proposal.override for proposal in advice.proposals)}")
    else:
        say("no other parameters are proposed")
    for remark in advice.remarks:
        say(remark)
    if advice.annotations:
        timing = time_training(dataset.root, advice.annotations, advice.class_names, advice.params)
        _say_timing(timing, advice.params)
    return advice.params


def _coverage_table(title: str, figures: "Figures") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=cell(title), box=SIMPLE, title_justify="left", padding=(0, 1, 0, 0))
    parts = {"square root of area, px": figures.by_span, "height / width": figures.by_shape, "class": figures.by_class}
    for heading in ("", "objects", "", "IoU 0.5", "IoU 0.7"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, rows in parts.items():
        table.add_section()
        table.add_row(name)
        most = max(row.objects for row in rows)
        for row in rows:
            shares = [f"{share:.1%}" if row.objects else "" for share in row.coverage]
            table.add_row(cell(f"  {row.name}"), str(row.objects), "#" * -(-BAR * row.objects // most), *shares)
    return table


def _say_sums(figures: "Figures", params: "Params") -> None:
    total = figures.total
    half, most = (f"{share:.1%}" for share in total.coverage)
    say(
        f"anchor coverage: of {plural(total.objects, 'object')} {half} have an anchor of IoU 0.5 or more, {most} of 0.7"
    )
    say(
        f"median object: {figures.median:.0f} px; smaller than a cell of the finest feature map ({figures.cell} px): "
        f"{figures.below_cell}"
    )
    say(f"padding: {figures.padding:.1%} of the pixels of the batches of {params.train.batch_size}")
    for warning in figures.warnings:
        say(f"warning: {warning}")


def _proposal_table(title: str, proposals: Sequence["Proposal"]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    from frcnn.advice.proposals import in_yaml

    table = Table("parameter: now -> proposed", "why", title=title, box=SIMPLE, title_justify="left")
    for before, proposal in zip([None, *proposals], proposals, strict=False):
        same = before is not None and before.reason == proposal.reason
        now, new = (in_yaml(value).replace(",", ", ") for value in (proposal.current, proposal.proposed))
        change = cell(f"{proposal.key}:").append(f"\n  {now} -> {new}")
        table.add_row(change, cell("the same" if same else proposal.reason))
    return table


def _say_timing(timing: "Timing", params: "Params") -> None:
    epochs = params.train_phase1.epochs + params.train_phase2.epochs
    width, height = timing.size
    say(
        f"a training step of {plural(params.train.batch_size, 'image')}, {width} x {height} px: {timing.seconds:.2f} s "
        f"({timing.device}), at most {timing.mebibytes:,.0f} MiB of memory"
    )
    epoch = timing.seconds * timing.steps
    beside = ", and validation" if params.train.validation.fraction else ""
    whole = f"{epochs} epochs: {_duration(epochs * epoch)}{beside}"
    say(f"an epoch of {plural(timing.steps, 'step')}: {_duration(epoch)}; {whole}")


def _duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, whichever has the shorter number from 2 on."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
