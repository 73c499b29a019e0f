"""Measure everything that is promised for a GPU, beside torchvision, and print a short table last.

Run it from the repository with any Python that has the packages of pyproject.toml (DVC and a network are not needed):

    python benchmarks/gpu.py --out FOLDER

It calls `python -m benchmarks` once per case and joins the CSV files as FOLDER/gpu.csv. A case that fails is left out
and named in the last line; then the exit code is 1.
"""

import argparse
import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 8  # processes that load pictures
BENCH = [sys.executable, "-m", "benchmarks"]


@dataclass(frozen=True)
class Case:
    """One call of the benchmark."""

    name: str
    backbone: str
    batch: int
    parts: str


@dataclass(frozen=True)
class Target:
    """What a figure should reach: at least `goal`, or at most where `most` is set."""

    case: str
    part: str
    what: str
    goal: float
    most: bool = False


CASES = (
    Case("vgg16-1", "vgg16", 1, "detection,training,loading"),
    Case("vgg16-16", "vgg16", 16, "detection,training"),
    Case("resnet50-16", "resnet50", 16, "training"),
    Case("resnet101-16", "resnet101", 16, "training"),
)
FILES, STEP = "training from JPEG files", "training step"
TARGETS = (
    Target("vgg16-16", FILES, "images per second", 250),
    Target("vgg16-16", STEP, "achieved / matrix product", 0.25),
    Target("vgg16-16", FILES, "data wait / step", 0.05, most=True),
    Target("vgg16-1", FILES, "images per second", 60),
    Target("resnet50-16", FILES, "images per second", 200),
    Target("resnet101-16", FILES, "images per second", 150),
    Target("vgg16-16", "detection", "images per second", 400),
    *(Target(case.name, STEP, "torchvision float32 / frcnn", 3) for case in CASES),
    *(Target(case.name, STEP, "torchvision autocast / frcnn", 2) for case in CASES),
    Target("vgg16-16", "detection", "torchvision float32 / frcnn", 3),
    Target("vgg16-16", "detection", "torchvision autocast / frcnn", 2),
    Target("vgg16-1", STEP, "peak memory", 4 * 1024, most=True),
    Target("vgg16-16", STEP, "peak memory", 40 * 1024, most=True),
)


def main() -> int:
    """Run the cases and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder of the CSV files")
    parser.add_argument("--cases", default=",".join(case.name for case in CASES), help="some of them, with commas")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("more", nargs="*", help="after --: further options of the benchmark")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    failed = []
    for case in CASES:
        if case.name in arguments.cases.split(","):
            found = run_case(case, arguments.out, ["--device", arguments.device, *arguments.more])
            rows += found
            failed += [] if found else [case.name]
    if rows:
        write_rows(arguments.out / "gpu.csv", rows)
    print("\n".join(summary(rows)))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def run_case(case: Case, out: Path, more: list[str]) -> list[dict[str, str]]:
    """Return the figures of a case with its name, none if it failed."""
    file = out.resolve() / f"{case.name}.csv"
    changes = ["-S", f"model.backbone={case.backbone}", "-S", "train.precision=bf16", "--against", "torchvision"]
    options = ["--batch", str(case.batch), "--only", case.parts, "--workers", str(WORKERS), "--out", str(file)]
    command = [*BENCH, *changes, *options, *more]
    print(f"== {case.name}: {' '.join(command[3:])}", flush=True)
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"COLUMNS": "100"})
    if done.returncode:
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [{"case": case.name} | row for row in csv.DictReader(lines)]


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write the figures of all cases."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(rows: list[dict[str, str]]) -> list[str]:
    """Return the lines of the table: each figure that was measured beside its target."""
    figures = {(row["case"], row["part"], row["what"]): row for row in rows}
    lines = [f"{'case':13} {'part':25} {'what':29} {'median':>8} {'low':>8} {'high':>8}   target"]
    for target in TARGETS:
        row = figures.get((target.case, target.part, target.what))
        if row:
            values = [float(row[column]) for column in ("median", "low", "high")]
            reached = values[0] <= target.goal if target.most else values[0] >= target.goal
            sign = "<=" if target.most else ">="
            numbers = " ".join(f"{value:8.4g}" for value in values)
            verdict = f"{sign} {target.goal:g} {'reached' if reached else 'MISSED'}"
            lines.append(f"{target.case:13} {target.part:25} {target.what:29} {numbers}   {verdict}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
