"""The training log: mean losses between rows, and the check that they are finite."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from frcnn import distributed
from frcnn.detector.config import LOSSES
from frcnn.errors import UserError

Row = dict[str, Any]
COLUMNS = ("epoch", "step", "images", "learning_rate", *LOSSES, "loss", "val_loss", "val_mAP", "val_F1", "val_score")


class NonFiniteLoss(Exception):
    """A loss became infinite or NaN; the message names step, images and losses."""

    def with_remedy(self, phase: int) -> UserError:
        """Return what to say to a user in phase 1 or 2."""
        remedies = f"a lower learning rate, train_phase{phase}.warmup_steps, or instead of fp16 another train.precision"
        return UserError(f"{self}; try {remedies}")


@dataclass
class Log:
    """Rows of the CSV and the sums of the row to come.

    Losses stay on the device until `collect` asks for them, so that a step does not wait for the host. They are those
    of the whole batch in every process, though each process computes its own share.

    Attributes:
        on_rows: told of all rows whenever there is a new one, and whether that ends an epoch.
    """

    on_rows: Callable[[list[Row], bool], None]
    rows: list[Row] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * len(LOSSES))
    images: int = 0
    _pending: list[tuple[int, list[str], Tensor]] = field(default_factory=list)

    def add(self, step: int, image_ids: list[str], losses: dict[str, Tensor]) -> None:
        """Note the losses (each (N,), of this process's share) of a step on the images of the whole batch."""
        own = torch.stack([losses[name].detach() for name in LOSSES])
        self._pending.append((step, image_ids, distributed.place(own, len(image_ids))))

    def collect(self) -> None:
        """Take the noted losses into the sums; every process must come here after the same steps.

        Raises:
            NonFiniteLoss: at the first step that has one, in every process.
        """
        if not self._pending:
            return
        together = distributed.add_up(torch.cat([losses for _, _, losses in self._pending], 1))
        lengths = [len(image_ids) for _, image_ids, _ in self._pending]
        for (step, image_ids, _), values in zip(self._pending, together.split(lengths, 1), strict=True):
            if not values.isfinite().all():
                raise NonFiniteLoss(_describe(step, image_ids, values))
            self.sums = [total + value for total, value in zip(self.sums, values.sum(1).tolist(), strict=True)]
            self.images += len(image_ids)
        self._pending.clear()

    def means(self) -> dict[str, float]:
        """Return the mean losses per image since the last row (right after one: its own), and their sum `loss`."""
        if not self.images and self.rows:
            return {name: self.rows[-1][name] for name in (*LOSSES, "loss")}
        means = {
            name: total / self.images if self.images else math.nan
            for name, total in zip(LOSSES, self.sums, strict=True)
        }
        return means | {"loss": sum(means.values())}

    def close_row(self, epoch: int, step: int, rate: float, validated: dict[str, float] | None = None) -> None:
        """Append a row with the means and start anew; `validated` is what validation found at the end of an epoch."""
        means = {name: round(value, 6) for name, value in self.means().items()}
        self.rows.append({"epoch": epoch, "step": step, "images": self.images, "learning_rate": rate, **means})
        self.rows[-1] |= validated or {}
        self.sums, self.images = [0.0] * len(LOSSES), 0
        self.on_rows(self.rows, validated is not None)


def best_epoch(rows: list[Row]) -> int | None:
    """Return the first epoch with the highest mAP in validation; of those without a score (NaN) the last; else None."""
    scores = {row["epoch"]: row["val_mAP"] for row in rows if "val_mAP" in row}
    valid = [epoch for epoch, score in scores.items() if not math.isnan(score)]
    return max(valid, key=scores.__getitem__) if valid else max(scores, default=None)


def validation_of(rows: list[Row], epoch: int | None) -> dict[str, float]:
    """Return what validation found after an epoch, the numbers without `val_` in their names; empty without one."""
    found = {name: value for row in rows if row["epoch"] == epoch for name, value in row.items() if "val_" in name}
    return {name.removeprefix("val_"): value for name, value in found.items() if math.isfinite(value)}


def validations_since_best(rows: list[Row]) -> int:
    """Return how often validation has found no better mAP."""
    best = best_epoch(rows)
    return sum("val_mAP" in row and row["epoch"] > best for row in rows) if best else 0


def _describe(step: int, image_ids: list[str], values: Tensor) -> str:
    bad = [image_ids[i] for i in torch.nonzero(~values.isfinite().all(0)).flatten().tolist()]
    losses = ", ".join(f"{name} {value:g}" for name, value in zip(LOSSES, values.mean(1).tolist(), strict=True))
    return f"step {step}, image {', '.join(bad)}: a loss is not finite ({losses})"
