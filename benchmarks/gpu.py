"""Measure everything that is promised for a GPU, beside torchvision, and print a short table last.

Run it from the repository with any Python that has the packages of pyproject.toml (DVC and a network are not needed):

    python benchmarks/gpu.py --out FOLDER

It calls `python -m benchmarks` once per case and joins the CSV files as FOLDER/gpu.csv. A case that fails is left out
and named in the last line; then the exit code is 1.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

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
    more = ["--device", arguments.device, *arguments.more]
    cases = [case for case in CASES if case.name in arguments.cases.split(",")]
    found = {case.name: run_case(case, arguments.out, more) for case in cases}
    failed = [name for name, table in found.items() if table is None]
    if len(failed) < len(found):
        figures = pd.concat([table for table in found.values() if table is not None])
        figures.to_csv(arguments.out / "gpu.csv", index=False)
        print(summary(figures))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def run_case(case: Case, out: Path, more: list[str]) -> pd.DataFrame | None:
    """Return the figures of a case with its name, None if it failed."""
    file = out.resolve() / f"{case.name}.csv"
    changes = ["-S", f"model.backbone={case.backbone}", "-S", "train.precision=bf16", "--against", "torchvision"]
    options = ["--batch", str(case.batch), "--only", case.parts, "--workers", str(WORKERS), "--out", str(file)]
    command = [*BENCH, *changes, *options, *more]
    print(f"== {case.name}: {' '.join(command[3:])}", flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        return None
    table = pd.read_csv(file)
    table.insert(0, "case", case.name)
    return table


def summary(figures: pd.DataFrame) -> str:
    """Return the table of all figures that have a target, beside it."""
    wanted = pd.DataFrame(TARGETS)
    table = wanted.merge(figures[["case", "part", "what", "median", "low", "high"]], on=["case", "part", "what"])
    reached = (table["median"] <= table.goal).where(table.most, table["median"] >= table.goal)
    table["target"] = table.most.map({True: "<= ", False: ">= "}) + table.goal.map("{:g}".format)
    table["verdict"] = reached.map({True: "reached", False: "MISSED"})
    return table.drop(columns=["goal", "most"]).to_string(index=False, float_format="{:.4g}".format)


if __name__ == "__main__":
    sys.exit(main())
