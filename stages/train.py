"""Stage `train`: one of the two phases, resumable at any step, in one process or several."""

import signal
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal.launch import Nproc, launch, launched, member
from .terminal.options import ANCHORS, DATASET, METRICS, MODELS, AnchorsFile, Dataset, Device, Overrides, ParamsFile

if TYPE_CHECKING:
    from frcnn.params import Params
    from frcnn.training.loop import Job
    from frcnn.training.setup import Setup

CHECKPOINTS = Path("checkpoints")


def run(
    phase: Annotated[int, typer.Option("--phase", min=1, max=2, help="1 starts from model.weights, 2 from phase 1.")],
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    anchors: AnchorsFile = ANCHORS,
    models: Annotated[Path, typer.Option("--models", metavar="FOLDER", help="Holds phaseN.safetensors.")] = MODELS,
    metrics: Annotated[Path, typer.Option("--metrics", metavar="FOLDER", help="For train_phaseN.csv, .png.")] = METRICS,
    checkpoints: Annotated[
        Path, typer.Option("--checkpoints", metavar="FOLDER", help="State from which an interrupted run continues.")
    ] = CHECKPOINTS,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="Time between checkpoints.")
    ] = 300,
    log_steps: Annotated[int, typer.Option("--log-steps", min=1, help="Steps between rows of the log.")] = 100,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", metavar="FOLDER", help="Write the log for TensorBoard, too, in a folder phaseN."),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep decoded pictures in memory.", envvar="FRCNN_CACHE_PICTURES")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again: remove the checkpoints of an earlier run.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            metavar="FOLDER",
            help="Write a trace of a few steps, on CUDA also of the memory; do not train.",
        ),
    ] = None,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Processes that load pictures; default: 0 on the CPU, else 8."),
    ] = None,
    nproc: Nproc = 1,
) -> None:
    """Read the dataset, anchors.h5 and the weights to start from; write the trained weights, and a log as it grows."""
    from frcnn.errors import UserError
    from frcnn.params import load_params

    if tensorboard is not None and find_spec("tensorboard") is None:
        raise UserError("--tensorboard: TensorBoard is not installed; pip install tensorboard")
    params = load_params(params_file, overrides or ())
    checkpoint = checkpoints / f"phase{phase}" / "last.pt"
    if nproc > 1 and not launched():
        launch(nproc, checkpoint)
        return

    from frcnn import distributed
    from frcnn.training.checkpoint import exclusive
    from frcnn.training.setup import Inputs, set_up
    from frcnn.unchanged import watch

    with member(device), exclusive(checkpoint.parent) if distributed.is_main() else nullcontext():
        with distributed.main_first():
            weights = _find_weights(params) if phase == 1 else models / "phase1.safetensors"
            inputs = [dataset, anchors, *([weights] if weights else [])]
            require_unchanged = watch(f"train_phase{phase}", params_file, overrides or (), params, inputs)
            setup = set_up(params, phase, Inputs(dataset, anchors, weights), device, cache)
            if fresh and profile is None and distributed.is_main():
                for path in (checkpoint, *checkpoint.parent.glob("epoch*.pt")):
                    path.unlink(missing_ok=True)
        job = setup.job(phase, checkpoint, workers, checkpoint_seconds=checkpoint_seconds, log_steps=log_steps)
        if profile is None:
            log = metrics / f"train_phase{phase}"
            scalars = tensorboard and tensorboard / f"phase{phase}"
            _train(setup, job, models, (log, bool(job.held_out), scalars), require_unchanged)
        else:
            _profile(setup, job, profile)


def _train(
    setup: "Setup", job: "Job", models: Path, log: tuple[Path, bool, Path | None], require_unchanged: Callable[[], None]
) -> None:
    """Train, then write the weights; say and write how it goes, by `recorder` with the arguments `log`."""
    from frcnn import distributed
    from frcnn.learning_curves import recorder
    from frcnn.training.log import NonFiniteLoss, Row
    from frcnn.training.loop import Interrupted, train_phase

    from .terminal.console import say
    from .terminal.interrupt import stop_on_signal
    from .terminal.training_bar import training_progress

    tell = say if distributed.is_main() else lambda text: None
    record = recorder(*log) if distributed.is_main() else lambda rows, ended: None
    learner = setup.learner()
    tell(_summary(job, setup, distributed.world()))
    for note in setup.notes:
        tell(note)
    try:
        with stop_on_signal() as wish, training_progress(job, tell) as shown:

            def on_rows(rows: list[Row], epoch_ended: bool) -> None:
                record(rows, epoch_ended)
                shown.on_rows(rows, epoch_ended)

            rows = train_phase(learner, job, shown.on_step, wish, tell, on_rows)
    except NonFiniteLoss as error:
        if not distributed.is_main():
            distributed.barrier()  # until the main process has told and ended
        raise error.with_remedy(job.number) from error
    except Interrupted:
        tell(f"stopped; the same command goes on from {job.checkpoint}")
        distributed.barrier()  # whoever ended before would have the others stopped
        raise SystemExit(128 + (wish.received or signal.SIGTERM)) from None
    if distributed.is_main():
        require_unchanged()
    tell(setup.write(models / f"phase{job.number}.safetensors", learner, job, rows))


def _profile(setup: "Setup", job: "Job", folder: Path) -> None:
    """Trace a few steps, which change nothing on disk but `folder`."""
    from frcnn.profiling import profile_steps

    from .terminal.console import say

    for path in profile_steps(setup.learner(), job, folder):
        say(f"profile   {path}")


def _find_weights(params: "Params") -> Path | None:
    from frcnn.importing.published_detectors import find_start

    from .terminal.console import amount_bar

    with amount_bar("fetching weights", "MB", 1e-6) as on_progress:
        return find_start(params.model, on_progress)


def _summary(job: "Job", setup: "Setup", processes: int) -> str:
    parts = [f"{len(job.source.targets)} images", setup.backend.description]
    if job.source.cache is not None:
        parts.append(f"cache of {job.source.cache.gibibytes:.1f} GiB")
    if processes > 1:
        parts.append(f"{processes} processes")
        if setup.backend.device.type == "cpu" and job.source.params.model.norm == "trained":
            parts.append("batch norm statistics of each process's own images")
    return ", ".join(parts)
