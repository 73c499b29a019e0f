"""Train networks from scratch on one dataset, and print what came of each: mAP, and images a second of the training.

Run it from the repository with any Python that has the packages of pyproject.toml (DVC is not needed):

    python benchmarks/training.py DATASET --out FOLDER --backbones resnet50,vgg16 --epochs 12

DATASET is a folder or archive in VOC layout with the lists trainval and test; its pictures are resized to --size px at
the short side. Every stage runs as a process of its own in FOLDER/BACKBONE; weights and figures stay there.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
FRCNN = [sys.executable, "-c", "from stages.cli import main; main()"]
SCRATCH = ["model.weights=none", "model.freeze_at=0", "model.norm=trained", "model.proposals.min_size=0"]
# AdamW needs no pretrained scale of the weights; anchors from 32 px, as objects at this size are small.
RECIPE = [
    "train.optimizer.name=adamw",
    "train.optimizer.weight_decay=0.02",
    "train.precision=auto",
    "detect.precision=auto",
]
RECIPE += ["anchors.anchor_sizes=[32, 64, 128, 256]", "train_phase1.warmup_steps=200"]


def main() -> None:
    """Train each network, then print the table and write it as FOLDER/training.csv."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbones", default="resnet50,vgg16")
    parser.add_argument("--epochs", type=int, default=12, help="of phase 1; phase 2 has a third of it, at least 1")
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate of phase 1; a tenth of it in phase 2")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-S", dest="more", action="append", default=[], help="another parameter: model.width=16")
    options = parser.parse_args()
    table = pd.DataFrame([train(backbone, options) for backbone in options.backbones.split(",")])
    table.to_csv(options.out / "training.csv", index=False)
    print(table.to_string(index=False))


def train(backbone: str, options: argparse.Namespace) -> dict[str, object]:
    """Run all stages for one network and return its row of the table."""
    folder = options.out.resolve() / backbone
    folder.mkdir(parents=True, exist_ok=True)
    changes = [f"download.source={options.dataset.resolve()}", f"model.backbone={backbone}", *SCRATCH, *RECIPE]
    changes += [f"data.min_size={options.size}", f"data.max_size={2 * options.size}"]
    changes += [f"train.batch_size={options.batch}", f"detect.batch_size={options.batch}"]
    changes += [f"train_phase1.epochs={options.epochs}", f"train_phase2.epochs={max(1, options.epochs // 3)}"]
    changes += [f"train_phase1.learning_rate={options.rate}", f"train_phase2.learning_rate={options.rate / 10}"]
    settings = ["--params", str(ROOT / "params.yaml"), *(word for c in changes + options.more for word in ("-S", c))]
    device = ["--device", options.device]
    run(folder, ["download", *settings])
    run(folder, ["anchors", *settings])
    seconds = sum(run(folder, ["train", "--phase", phase, "--cache", *settings, *device]) for phase in "12")
    run(folder, ["detect", *settings, *device])
    run(folder, ["evaluate", *settings])
    images = sum(int(pd.read_csv(folder / "metrics" / f"train_phase{phase}.csv").images.sum()) for phase in "12")
    summary = json.loads((folder / "metrics" / "summary.json").read_text(encoding="utf-8"))
    return {
        "backbone": backbone,
        "images": images,
        "seconds": round(seconds, 1),
        "images a second": round(images / seconds, 2),
        "mAP_voc07": round(summary["mAP_voc07"], 4),
    }


def run(folder: Path, command: list[str]) -> float:
    """Run a stage in the folder; return the seconds that it took, start-up included."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    start = time.monotonic()
    subprocess.run([*FRCNN, *command], cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=True)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
