"""Train and evaluate in one call each: `frcnn.train`, `frcnn.evaluate`. The commands do the same, a file at a time."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frcnn.anchor_labeling import write_anchors
from frcnn.data.voc.dataset import VocDataset
from frcnn.evaluation.judgement import judge
from frcnn.frameworks import load_detector
from frcnn.importing.published_detectors import find_detector, find_start
from frcnn.learning_curves import recorder
from frcnn.loading import load
from frcnn.params import Params, load_params
from frcnn.predictor import Predictor
from frcnn.split_detection import detect_split, require_classes
from frcnn.training.checkpoint import exclusive
from frcnn.training.log import NonFiniteLoss, Row
from frcnn.training.loop import train_phase
from frcnn.training.setup import Inputs, set_up
from frcnn.training_lines import TrainingLines

Tell = Callable[[str], None]


def train(
    dataset: str | Path,
    out: str | Path,
    params: str | Path = "finetune",
    overrides: Mapping[str, Any] | None = None,
    *,
    device: str = "auto",
    tell: Tell = print,
) -> Predictor:
    """Train a detector: label the anchors, then both phases. A call that was cut off goes on where it was.

    Args:
        dataset: folder in VOC layout, as `frcnn download` and `frcnn init` make it.
        out: folder for anchors.h5, models/phaseN.safetensors, metrics/train_phaseN.csv and .png, checkpoints/.
        params: a parameter file, or a preset: default, demo, finetune, reference.
        overrides: values of single parameters, such as {"train_phase1.epochs": 2}.
        device: auto, cpu, cuda, cuda:N or mps.
        tell: told in a line how it goes, at least once an epoch.

    Returns:
        The detector of phase 2, loaded from its file.

    Raises:
        UserError: whatever the commands refuse.
    """
    chosen, folder = _params(params, overrides), Path(out)
    anchors, models = folder / "anchors.h5", folder / "models"
    write_anchors(anchors, VocDataset(Path(dataset)), chosen)
    starts = (find_start(chosen.model), models / "phase1.safetensors")
    for phase, start in enumerate(starts, 1):
        _train_phase(chosen, phase, Inputs(Path(dataset), anchors, start), folder, device, tell)
    return load(models / "phase2.safetensors", device, chosen.detect.framework, precision=chosen.detect.precision)


def evaluate(
    detector: str | Path | Predictor,
    dataset: str | Path,
    params: str | Path = "finetune",
    overrides: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Run a detector over a split of a dataset and judge what it finds.

    Args:
        detector: a weights file, or what `load` or `train` returned; of its settings none counts.
        dataset: folder in VOC layout.
        params: a parameter file or preset, whose sections `detect` and `evaluate` count.
        overrides: values of single parameters, such as {"evaluate.coco": False}.
        split: default: `splits.test`.
        device: auto, cpu, cuda, cuda:N or mps, for a file.

    Returns:
        What `frcnn evaluate` writes as metrics/summary.json.

    Raises:
        UserError: whatever the commands refuse.
    """
    chosen, data = _params(params, overrides), VocDataset(Path(dataset))
    split = split or chosen.splits.test
    if isinstance(detector, Predictor):
        network, name = detector.network, "detector"
    else:
        name = str(detector)
        network = load_detector(find_detector(Path(detector)), device, chosen.detect.framework)
    require_classes(network, data, name)
    annotations = data.annotations(split, chosen.data.box_convention)
    return judge(annotations, detect_split(network, data, split, chosen.detect), chosen.evaluate).summary


def _params(params: str | Path, overrides: Mapping[str, Any] | None) -> Params:
    return load_params(Path(params), [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()])


def _train_phase(params: Params, phase: int, inputs: Inputs, folder: Path, device: str, tell: Tell) -> None:
    checkpoint = folder / "checkpoints" / f"phase{phase}" / "last.pt"
    with exclusive(checkpoint.parent):
        setup = set_up(params, phase, inputs, device)
        job = setup.job(phase, checkpoint)
        record = recorder(folder / "metrics" / f"train_phase{phase}", bool(job.held_out))
        lines, learner = TrainingLines(job, tell), setup.learner()
        for note in setup.notes:
            tell(note)

        def on_rows(rows: list[Row], epoch_ended: bool) -> None:
            record(rows, epoch_ended)
            lines.on_rows(rows, epoch_ended)

        try:
            rows = train_phase(learner, job, lines.on_step, lambda: False, tell, on_rows)
        except NonFiniteLoss as error:
            raise error.with_remedy(phase) from error
        tell(setup.write(folder / "models" / f"phase{phase}.safetensors", learner, job, rows))
