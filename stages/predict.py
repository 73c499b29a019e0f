"""Command `predict`: find objects in any pictures, without a dataset."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frcnn.errors import UserError

from .terminal.console import plural, report_error
from .terminal.options import FINAL_WEIGHTS, Device, FrameworkName, Overrides

if TYPE_CHECKING:
    import numpy as np

    from frcnn.detector.interfaces import Detector
    from frcnn.params import Detect
    from frcnn.params.training import Postprocessing

DETECTIONS = "detections.json"
UNFINISHED = "detections.jsonl.part"  # a line for each picture so far
USERS_MISTAKE = 2


def run(
    pictures: Annotated[list[str], typer.Argument(help="Files, folders, quoted globs or http(s) URLs.")],
    weights: Annotated[
        Path,
        typer.Option("--weights", metavar="FILE", help="A trained detector, or coco, coco-resnet50: see `models`."),
    ] = FINAL_WEIGHTS,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Results to write.")] = Path("predictions"),
    score_threshold: Annotated[
        str,
        typer.Option("--score-threshold", metavar="SCORE", help="Lowest score; auto: of the best F1 in validation."),
    ] = "0.7",
    params_file: Annotated[
        Path | None,
        typer.Option(
            "--params",
            metavar="FILE",
            help="File whose section detect is used; default: an imported detector's own, else params.yaml.",
        ),
    ] = None,
    overrides: Overrides = None,
    device: Device = "auto",
    framework: Annotated[FrameworkName | None, typer.Option("--framework", help="Default: detect.framework.")] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option("--max-pixels", min=1, help="Largest picture; default: $FRCNN_MAX_PIXELS, 178,956,970."),
    ] = None,
) -> None:
    """Read pictures and the weights of a detector, write the pictures with the objects found and detections.json."""
    from frcnn.files import write_text
    from frcnn.fonts import remark_on_letters
    from frcnn.frameworks import load_detector
    from frcnn.picture_sources import read_input, unique_names

    from .terminal.console import say, track

    threshold = _threshold(score_threshold)
    settings = _settings(params_file, overrides or [])
    sources, problems = _expand(pictures)
    names = unique_names(sources)
    _refuse_to_overwrite(sources, [out / f"{name}.png" for name in names])
    entries: list[dict[str, Any]] = []
    if sources:
        path = _find(weights)
        detector = load_detector(path, device, framework.value if framework else settings.framework)
        own = detector.config.postprocessing
        if params_file is None and own is not None:
            settings = _settings(params_file, [*_texts(own), *(overrides or [])])
        threshold = _best_score(path) if threshold is None else threshold
        settings = settings.model_copy(update={"score_threshold": threshold})
        for source, name in track(zip(sources, names, strict=True), "predicting", len(sources)):
            try:
                image = read_input(source, max_pixels)
            except UserError as error:
                problems += 1
                report_error(error)
            else:
                entries.append({"image": source} | _predict(detector, image, out / f"{name}.png", settings))
                _append(out / UNFINISHED, entries)
    if entries:
        write_text(out / DETECTIONS, _json(entries, indent=1))
        (out / UNFINISHED).unlink()
        if remark := remark_on_letters(detector.config.class_names):
            say(f"{out}: {remark}")
        count = plural(sum(len(entry["detections"]) for entry in entries), "detection")
        scored = f"{count} with a score above {threshold:g}"
        say(f"{out / DETECTIONS}: {plural(len(entries), 'picture')}, {scored}; drawn in {out}")
    if problems:
        raise typer.Exit(USERS_MISTAKE)


def _threshold(text: str) -> float | None:
    """Return the score that is asked for, None for auto."""
    if text == "auto":
        return None
    try:
        score = float(text)
    except ValueError:
        score = -1
    if not 0 <= score <= 1:
        raise UserError(f"--score-threshold: {text} is neither a number from 0 to 1 nor auto")
    return score


def _best_score(weights: Path) -> float:
    """Return the score of the best F1 in validation."""
    from frcnn.frameworks import read_validation

    found = read_validation(weights)
    if "score" not in found:
        why = "nothing was detected in its validation" if found else "it was trained without validation"
        raise UserError(
            f"{weights}: has no score for --score-threshold auto, since {why}; give a number, or train with "
            "train.validation.fraction above 0"
        )
    return found["score"]


def _settings(params_file: Path | None, overrides: list[str]) -> "Detect":
    """Return the section `detect` of a parameter file, or the defaults if no file is named and there is none."""
    from frcnn.params import load_params

    path = params_file or Path("params.yaml" if Path("params.yaml").exists() else "default")
    return load_params(path, overrides).detect


def _texts(postprocessing: "Postprocessing") -> list[str]:
    """Return settings of detection as `--set` takes them."""
    import json

    return [f"detect.{name}={json.dumps(value)}" for name, value in postprocessing]


def _find(weights: Path) -> Path:
    """Return the weights file that is named by its path or as one of the detectors trained on COCO."""
    from frcnn.importing.published_detectors import find_detector

    from .terminal.console import amount_bar

    with amount_bar("fetching weights", "MB", 1e-6) as on_progress:
        return find_detector(weights, on_progress)


def _expand(pictures: Sequence[str]) -> tuple[list[str], int]:
    """Return files and URLs, each once, and how many arguments meant none."""
    from frcnn.picture_sources import expand_input

    sources: list[str] = []
    problems = 0
    for text in pictures:
        try:
            sources += expand_input(text)
        except UserError as error:
            problems += 1
            report_error(error)
    return list(dict.fromkeys(sources)), problems


def _refuse_to_overwrite(sources: Sequence[str], targets: Sequence[Path]) -> None:
    read = {Path(source).resolve() for source in sources}
    for target in targets:
        if target.resolve() in read:
            raise UserError(f"{target}: would overwrite a picture to be read; choose another folder with --out")


def _predict(detector: "Detector", image: "np.ndarray", target: Path, settings: "Detect") -> dict[str, Any]:
    """Find and draw the objects of one picture; return what detections.json says of it."""
    from PIL import Image

    from frcnn.detector.run import detect_pictures
    from frcnn.files import atomic_path
    from frcnn.report.drawing import draw

    class_names = detector.config.class_names
    [found] = detect_pictures(detector, [image], settings, settings.precision)
    with atomic_path(target) as temporary:
        Image.fromarray(draw(image, found, class_names)).save(temporary, format="png")
    detections = [
        {
            "label": int(label),
            "class": class_names[label - 1],
            "score": round(float(score), 6),
            "box": [round(float(value), 2) for value in box],
        }
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]
    size = {"width": image.shape[1], "height": image.shape[0]}
    return size | {"score_threshold": settings.score_threshold, "detections": detections}


def _append(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Add the last entry to the lines of those before it, whole or not at all."""
    line = _json(entries[-1]).encode()
    try:
        with path.open("wb" if len(entries) == 1 else "ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) < len(line):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _json(value: Any, indent: int | None = None) -> str:
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # names of files may hold halves of surrogate pairs
