"""Stage `train`: one of the two phases, resumable at any step."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.params import load_params
from stages.options import ANCHORS, DATASET, METRICS, MODELS, AnchorsFile, Dataset, Device, Overrides, ParamsFile


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
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the checkpoint of an earlier run.")] = False,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Processes that load pictures; default: 0 on the CPU, else 8."),
    ] = None,
) -> None:
    """Read the dataset, anchors.h5 and the weights to start from; write the trained weights and a CSV log."""
    from frcnn.model.weights import save_weights
    from frcnn.training.checkpoint import exclusive
    from frcnn.training.log import NonFiniteLoss
    from frcnn.training.loop import Interrupted, Job, train_phase
    from stages.console import say
    from stages.interrupt import stop_on_signal, stop_with_parent
    from stages.training_bar import training_bar
    from stages.training_job import prepare

    params = load_params(params_file, overrides or ())
    checkpoint = checkpoints / f"phase{phase}" / "last.pt"
    stop_with_parent()
    with exclusive(checkpoint.parent):
        ready = prepare(params, phase, dataset, anchors, models, device)
        if fresh:
            checkpoint.unlink(missing_ok=True)
        job = Job(
            number=phase,
            phase=params.phase(phase),
            source=ready.source,
            fingerprint=ready.fingerprint,
            checkpoint=checkpoint,
            device=ready.device,
            precision=ready.precision,
            workers=_workers(ready.device.type) if workers is None else workers,
            held_out=ready.held_out,
            checkpoint_seconds=checkpoint_seconds,
            log_steps=log_steps,
        )
        say(f"{len(ready.source.targets)} images, {ready.device}, {str(ready.precision).removeprefix('torch.')}")
        try:
            with stop_on_signal() as wish, training_bar(job) as on_step:
                rows = train_phase(ready.model, job, on_step, wish, say)
        except NonFiniteLoss as error:
            raise UserError(f"{error}; try a lower learning rate or train_phase{phase}.warmup_steps") from error
        except Interrupted:
            say(f"stopped; the same command goes on from {checkpoint}")
            raise SystemExit(128 + (wish.received or 0)) from None
        write_text(metrics / f"train_phase{phase}.csv", _csv(rows))
        save_weights(models / f"phase{phase}.safetensors", ready.model, ready.trained_on)
    say(f"{models}/phase{phase}.safetensors: {rows[-1]['step']} steps, last loss {rows[-1]['loss']:.4f}")


def _workers(device: str) -> int:
    import os

    return 0 if device == "cpu" else min(8, os.cpu_count() or 1)


def _csv(rows: list[dict[str, Any]]) -> str:
    import pandas as pd

    from frcnn.training.log import COLUMNS

    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(axis="columns", how="all").to_csv(index=False)
