"""Stage `report`: one page that shows what the detector does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import options

if TYPE_CHECKING:
    from frcnn.report.page.against import Comparison
    from frcnn.report.page.content import Measured

Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="REV_OR_FOLDER",
        help="Compare with another project's folder, or with the metrics of a Git revision.",
    ),
]


def run(
    dataset: options.Dataset = options.DATASET,
    detections: options.Detections = options.DETECTIONS,
    metrics: Annotated[Path, typer.Option("--metrics", metavar="FOLDER", help="Metrics and logs.")] = options.METRICS,
    weights: options.Weights = options.FINAL_WEIGHTS,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The page; replaced as a whole.")
    ] = options.REPORT,
    split: options.Split = None,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    instances: options.Instances = None,
    against: Against = None,
) -> None:
    """Read the dataset, the detections on its test split, metrics and logs, write a page that shows the errors."""
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.params import load_params
    from frcnn.report.page.content import Known, gather, measure, read_coco
    from frcnn.report.page.folder import PAGE, write_report
    from frcnn.report.page.origin import origin_of
    from frcnn.report.page.training_curves import read_logs
    from frcnn.unchanged import watch

    from .terminal.console import plural, say

    params = load_params(params_file, overrides or ())
    inputs = [dataset, detections, metrics, weights, *([instances] if instances else [])]
    require_unchanged = watch("report", params_file, overrides or (), params, inputs)
    data, convention, training = VocDataset(dataset), params.data.box_convention, params.splits.train
    found, judged = read_with_annotations(detections, data, split or params.splits.test, convention, instances)
    trained = data.annotations(training, convention) if training in data.split_names else None
    measured = measure(judged, found, params.evaluate.iou_threshold)
    coco = read_coco(metrics, measured)
    if coco is None:
        say(f"{metrics / 'summary.json'}: of other detections, so its COCO measures are left out; run frcnn evaluate")
    comparison = _compare(against, measured, params.evaluate.iou_threshold) if against else None
    known = Known(origin_of(params, found, judged, trained, weights), read_logs(metrics), coco or {})
    content = gather(measured, judged, params, known, comparison)
    write_report(out, content, require_unchanged)
    say(f"{out / PAGE}: {plural(len(judged), 'picture')}, {len(content.pictures)} shown; open it in a browser")


def _compare(against: str, measured: "Measured", iou_threshold: float) -> "Comparison":
    from frcnn.report.page.against import compare_folder, compare_revision

    if Path(against).is_dir():
        return compare_folder(Path(against), measured.objects, measured.detections, iou_threshold, measured.draws)
    return compare_revision(against, measured.results)
