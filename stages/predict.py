"""Command `predict`: find objects in any pictures, without a dataset."""

import errno
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frcnn.errors import UserError

from .terminal.console import plural, report_error
from .terminal.detection import detection_settings
from .terminal.options import FINAL_WEIGHTS, Device, FrameworkName, Overrides

if TYPE_CHECKING:
    import numpy as np

    from frcnn.params.types import Framework
    from frcnn.predictor import Predictor, Prepared
    from frcnn.result import Result

DETECTIONS = "detections.json"
UNFINISHED = "detections.jsonl.part"  # a line for each picture so far
USERS_MISTAKE = 2


class Format(StrEnum):
    """How pictures are written."""

    png = "png"
    jpg = "jpg"


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
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="NAMES", help="Only these, with commas between: cat,dog.")
    ] = None,
    picture_format: Annotated[Format, typer.Option("--format", help="Of the pictures written.")] = Format.png,
    json_only: Annotated[bool, typer.Option("--json-only", help="Draw nothing.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Read the folders in a folder, too.")] = False,
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
    from frcnn.fonts import remark_on_letters
    from frcnn.picture_sources import unique_names
    from frcnn.result import labels_of

    from .terminal.console import say, track

    threshold = _threshold(score_threshold)
    settings = detection_settings(params_file, overrides or [])
    sources, problems = _expand(pictures, recursive)
    targets = [None if json_only else out / f"{name}.{picture_format}" for name in unique_names(sources)]
    _refuse_to_overwrite(sources, [target for target in targets if target])
    done = found = 0
    if sources:
        chosen = framework.value if framework else settings.framework
        predictor = _load(weights, device, chosen, params_file, overrides or [], threshold)
        names = predictor.class_names
        wanted = [name.strip() for name in classes.split(",")] if classes is not None else names
        labels_of(wanted, names)  # which refuses unknown ones
        jobs = zip(_results(predictor, sources, max_pixels), sources, targets, strict=True)
        for entry in track(_write_all(jobs, predictor, wanted), "predicting", len(sources)):
            if isinstance(entry, UserError):
                problems += 1
                report_error(entry)
            else:
                _append(out / UNFINISHED, entry, first=not done)
                done, found = done + 1, found + len(entry["detections"])
    if done:
        _finish(out / UNFINISHED, out / DETECTIONS)
        if not json_only and (remark := remark_on_letters(names)):
            say(f"{out}: {remark}")
        scored = f"{plural(found, 'detection')} with a score above {predictor.settings.score_threshold:g}"
        drawn = "" if json_only else f"; drawn in {out}"
        say(f"{out / DETECTIONS}: {plural(done, 'picture')}, {scored}{drawn}")
    if problems:
        raise typer.Exit(USERS_MISTAKE)


def _load(
    weights: Path,
    device: str,
    framework: "Framework",
    params_file: Path | None,
    overrides: list[str],
    threshold: float | None,
) -> "Predictor":
    """Return a detector that is ready to predict.

    Args:
        params_file, overrides: see `detection_settings`.
        threshold: lowest score, None for that of the best F1.
    """
    from frcnn.frameworks import best_score, load_detector
    from frcnn.predictor import Predictor

    path = _find(weights)
    detector = load_detector(path, device, framework)
    settings = detection_settings(params_file, overrides, detector.config.postprocessing)
    score = best_score(path) if threshold is None else threshold
    return Predictor(detector, settings.model_copy(update={"score_threshold": score}))


def _results(predictor: "Predictor", sources: Sequence[str], max_pixels: int | None) -> "Iterator[Result | UserError]":
    """Yield what is found in each picture, or why it cannot be read; threads read the next pictures meanwhile."""
    from frcnn.picture_sources import is_url, read_input
    from frcnn.read_ahead import read_ahead

    def read(source: "str | np.ndarray | UserError") -> "np.ndarray | UserError":
        try:
            return read_input(source, max_pixels) if isinstance(source, str) else source
        except UserError as error:
            return error

    def prepare(source: "str | np.ndarray | UserError") -> "Prepared | UserError":
        picture = read(source)
        return picture if isinstance(picture, UserError) else predictor.prepare(picture)

    # A transfer stays in this thread, where a signal can end it.
    fetched = (read(source) if is_url(source) else source for source in sources)
    for each in read_ahead(prepare, fetched):
        yield each if isinstance(each, UserError) else predictor.find([each])[0]


def _write_all(
    jobs: "Iterator[tuple[Result | UserError, str, Path | None]]", predictor: "Predictor", classes: Sequence[str]
) -> Iterator[dict[str, Any] | UserError]:
    """Draw each result into its file, in a thread; yield what detections.json says of it."""
    from frcnn.read_ahead import read_ahead

    def write(job: "tuple[Result | UserError, str, Path | None]") -> dict[str, Any] | UserError:
        result, source, target = job
        if isinstance(result, UserError):
            return result
        score = {"score_threshold": predictor.settings.score_threshold}
        return {"image": source} | _write(result.filter(classes=classes), target, score)

    return read_ahead(write, jobs, threads=1, finish=True)


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


def _find(weights: Path) -> Path:
    """Return the weights file that is named by its path or as one of the detectors trained on COCO."""
    from frcnn.importing.published_detectors import find_detector

    from .terminal.console import amount_bar

    with amount_bar("fetching weights", "MB", 1e-6) as on_progress:
        return find_detector(weights, on_progress)


def _expand(pictures: Sequence[str], recursive: bool) -> tuple[list[str], int]:
    """Return files and URLs, each once, and how many arguments meant none."""
    from frcnn.picture_sources import expand_input

    sources: list[str] = []
    problems = 0
    for text in pictures:
        try:
            sources += expand_input(text, recursive)
        except UserError as error:
            problems += 1
            report_error(error)
    return list(dict.fromkeys(sources)), problems


def _refuse_to_overwrite(sources: Sequence[str], targets: Sequence[Path]) -> None:
    read = {_identity(Path(source)) for source in sources} - {None}
    for target in targets:
        if _identity(target) in read:
            raise UserError(f"{target}: would overwrite a picture to be read; choose another folder with --out")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file, by links or in other letters, have in common; None of no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write(result: "Result", target: Path | None, score: dict[str, float]) -> dict[str, Any]:
    """Draw the objects of one picture, unless there is no file to write; return what detections.json says of it."""
    from frcnn.files import atomic_path

    if target:
        # The usual level of PNG takes five times as long and saves a seventh of the bytes; the quality is JPEG's.
        with atomic_path(target) as temporary:
            result.draw().save(temporary, "png" if target.suffix == ".png" else "jpeg", compress_level=1, quality=90)
    entry = result.to_dict()
    detections = entry.pop("detections")
    return entry | score | {"detections": detections}


def _append(path: Path, entry: dict[str, Any], first: bool) -> None:
    """Add an entry to the lines of those before it, whole or not at all."""
    line = _json(entry).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if first else "ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) < len(line):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _finish(lines: Path, path: Path) -> None:
    """Make one JSON list of the lines, of which one is in memory at a time."""
    import json
    from textwrap import indent

    from frcnn.files import atomic_path

    with (
        atomic_path(path) as temporary,
        lines.open(encoding="utf-8") as read,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for number, line in enumerate(read):
            entry = indent(_json(json.loads(line), indent=1).rstrip("\n"), " ")
            file.write(f"{',' if number else '['}\n{entry}")
        file.write("\n]\n")
    lines.unlink()


def _json(value: Any, indent: int | None = None) -> str:
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # names of files may hold halves of surrogate pairs
