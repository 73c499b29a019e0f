"""Stage `train`: one of the two phases, resumable at any step, in one process or several."""

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.params import load_params

from .terminal.launch import Nproc, launch, launched, member
from .terminal.options import ANCHORS, DATASET, METRICS, MODELS, AnchorsFile, Dataset, Device, Overrides, ParamsFile

if TYPE_CHECKING:
    from frcnn.training.loop import Job
    from frcnn.training.setup import Prepared


def run(
    phase: Annotated[int, typer.Option("--phase", min=1, max=2, help="1 starts from model.weights, 2 from phase 1.")],
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    anchors: AnchorsFile = ANCHORS,
    models: Annotated[Path, typer.Option("--models", metavar="FOLDER", help="Holds phaseN.safetensors.")] = MODELS,
    metrics: Annotated[Path, typer.Option("--metrics", metavar="FOLDER", help="Holds train_phaseN.csv.")] = METRICS,
    checkpoints: Annotated[Path, typer.Option("--checkpoints", metavar="FOLDER", help="Scratch for resuming.")] = Path(
        "checkpoints"
    ),
    checkpoint_seconds: Annotated[float, typer.Option("--checkpoint-seconds", min=0, help="Time between them.")] = 300,
    log_steps: Annotated[int, typer.Option("--log-steps", min=1, help="Steps between rows of the log.")] = 100,
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep decoded pictures in memory.", envvar="FRCNN_CACHE_PICTURES")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the checkpoint of an earlier run.")] = False,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Processes that load pictures; default: 0 on the CPU, else 8."),
    ] = None,
    nproc: Nproc = 1,
) -> None:
    """Read the dataset, anchors.h5 and the weights to start from; write the trained weights and a CSV log."""
    params = load_params(params_file, overrides or ())
    checkpoint = checkpoints / f"phase{phase}" / "last.pt"
    if nproc > 1 and not launched():
        launch(nproc, checkpoint)
        return

    from frcnn import distributed
    from frcnn.pytorch.weights import save_weights
    from frcnn.training.checkpoint import exclusive
    from frcnn.training.log import NonFiniteLoss
    from frcnn.training.loop import Interrupted, Job, train_phase
    from frcnn.training.setup import prepare

    from .terminal.console import say
    from .terminal.interrupt import stop_on_signal, stop_with_parent
    from .terminal.training_bar import training_bar

    stop_with_parent()
    with member(device), exclusive(checkpoint.parent) if distributed.is_main() else nullcontext():
        tell = say if distributed.is_main() else lambda text: None
        with distributed.main_first():
            ready = prepare(params, phase, dataset, anchors, models, device, cache)
            if fresh and distributed.is_main():
                checkpoint.unlink(missing_ok=True)
        job = Job(
            number=phase,
            phase=params.phase(phase),
            source=ready.source,
            fingerprint=ready.fingerprint,
            checkpoint=checkpoint,
            workers=loading_workers(ready.device.type, distributed.local_world()) if workers is None else workers,
            held_out=ready.held_out,
            checkpoint_seconds=checkpoint_seconds,
            log_steps=log_steps,
        )
        learner = ready.learner()
        tell(_summary(job, ready, distributed.world()))
        try:
            with stop_on_signal() as wish, training_bar(job) as on_step:
                rows = train_phase(learner, job, on_step, wish, tell)
        except NonFiniteLoss as error:
            if not distributed.is_main():
                distributed.barrier()  # until the main process has told and ended
            raise UserError(f"{error}; try a lower learning rate or train_phase{phase}.warmup_steps") from error
        except Interrupted:
            tell(f"stopped; the same command goes on from {checkpoint}")
            distributed.barrier()  # whoever ended before would have the others stopped
            raise SystemExit(128 + (wish.received or signal.SIGTERM)) from None
        if distributed.is_main():
            write_text(metrics / f"train_phase{phase}.csv", _csv(rows))
            save_weights(models / f"phase{phase}.safetensors", learner.config, learner.weights(), ready.trained_on)
        tell(f"{models}/phase{phase}.safetensors: {rows[-1]['step']} steps, last loss {rows[-1]['loss']:.4f}")


def _summary(job: "Job", ready: "Prepared", processes: int) -> str:
    parts = [f"{len(job.source.targets)} images", ready.where]
    if job.source.cache is not None:
        parts.append(f"cache of {job.source.cache.gibibytes:.1f} GiB")
    if processes > 1:
        parts.append(f"{processes} processes")
        if ready.device.type == "cpu" and job.source.params.model.norm == "trained":
            parts.append("batch norm by each process's own images")
    return ", ".join(parts)


def loading_workers(device: str, processes: int) -> int:
    return 0 if device == "cpu" else min(8, max(1, (os.cpu_count() or 1) // processes))


def _csv(rows: list[dict[str, Any]]) -> str:
    import pandas as pd

    from frcnn.training.log import COLUMNS

    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(axis="columns", how="all").to_csv(index=False)
