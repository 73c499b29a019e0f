"""Time the RoI operators in TensorFlow beside torchvision's and beside a loop over RoIs, in turns, on the CPU.

    python -m benchmarks.keras_roi [--repeats 5]

The map is VGG-16's of an image of 600 x 800 px. "both" is forward and backward, to the gradient of the map. Beside
"crop", torchvision takes the same samples by roi_align and their maxima. The loop does one RoI after another in a
compiled graph: RoIPool by the slices of its bins, the others by the function that is measured.
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torchvision

from benchmarks.measure import describe, interleave, milliseconds

import tensorflow as tf  # isort: skip - after torchvision, which loads what crashes after TensorFlow

from frcnn.keras.roi_max_pool import _bin_edges
from frcnn.keras.roi_pool import pool_rois
from frcnn.params import RoIPool

ROWS, COLUMNS, DEPTH, STRIDE = 37, 50, 512, 16
ROIS, SIZE, SAMPLING_RATIO = 128, 7, 2
GRIDS = np.array([[ROWS, COLUMNS]], np.int32)
OURS, THEIRS, LOOP = "frcnn.keras", "torchvision", "loop over RoIs"

Pool = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, ROWS, COLUMNS, DEPTH)).astype(np.float32)
    rois = random_rois(rng)
    rows = [
        {"op": op, "pass": "both" if backward else "forward"} | row(op, backward, features, rois, repeats)
        for op in ("align", "pool", "crop")
        for backward in (False, True)
    ]
    machine = describe(torch.device("cpu"))
    print(f"{ROIS} RoIs of a map of {ROWS} x {COLUMNS} x {DEPTH}: ms (lowest to highest)")
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"{machine['cpu']}, {machine['threads']} threads, TensorFlow {tf.__version__}, torch {machine['torch']}")


def random_rois(rng: np.random.Generator) -> np.ndarray:
    """Return (1, ROIS, 4) float32: boxes of 32 to 512 px per side, cut at the border of the image."""
    extent = np.array([COLUMNS, ROWS]) * STRIDE
    center = rng.uniform(0, extent, (ROIS, 2))
    half = np.exp(rng.uniform(np.log(16), np.log(256), (ROIS, 2)))
    return np.concatenate([np.maximum(center - half, 0), np.minimum(center + half, extent)], 1)[None].astype(np.float32)


def row(op: str, backward: bool, features: np.ndarray, rois: np.ndarray, repeats: int) -> dict[str, str]:
    """Return medians in milliseconds and ratios to ours, by their columns of the table."""
    cotangent = np.ones((1, ROIS, SIZE, SIZE, DEPTH), np.float32)
    functions = {
        OURS: by_tensorflow(our_pool(op), backward, features, rois, cotangent),
        THEIRS: by_torchvision(op, backward, features, rois, cotangent),
        LOOP: by_tensorflow(loop(op), backward, features, rois, cotangent),
    }
    seconds = interleave(functions, repeats)
    times = {name: milliseconds(name, own) for name, own in seconds.items()}
    cells = {name: f"{time.median:.1f} ({time.low:.1f} to {time.high:.1f})" for name, time in times.items()}
    ratios = {f"{name} / ours": f"{times[name].median / times[OURS].median:.2f}" for name in (THEIRS, LOOP)}
    return cells | ratios


def by_tensorflow(
    pool: Pool, backward: bool, features: np.ndarray, rois: np.ndarray, cotangent: np.ndarray
) -> Callable[[], tuple[tf.Tensor, ...]]:
    """Return a compiled call of a pooling function, for any size of map and number of RoIs."""

    @tf.function(input_signature=[tf.TensorSpec((1, None, None, DEPTH)), tf.TensorSpec((1, None, 4))])
    def run(features: tf.Tensor, rois: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if not backward:
            return (pool(features, rois),)
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool(features, rois)
        return pooled, tape.gradient(pooled, features, output_gradients=cotangent)

    arguments = tf.constant(features), tf.constant(rois)
    return lambda: run(*arguments)


def our_pool(op: str) -> Pool:
    """Return our pooling of all RoIs."""
    settings = RoIPool.model_validate({"op": op, "size": SIZE, "sampling_ratio": SAMPLING_RATIO})
    return lambda features, rois: pool_rois(features, tf.constant(GRIDS), rois, settings)


def loop(op: str) -> Pool:
    """Return a pooling of one RoI after another."""
    one = slices if op == "pool" else our_pool(op)
    signature = tf.TensorSpec((SIZE, SIZE, DEPTH))

    def pool(features: tf.Tensor, rois: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda roi: one(features, roi[None, None])[0, 0], rois[0], fn_output_signature=signature)[None]

    return pool


def slices(features: tf.Tensor, roi: tf.Tensor) -> tf.Tensor:
    """Return RoIPool of one RoI (1, 1, 4), bin by bin, out of its own part of the map."""
    top, bottom = (edge[0, 0] for edge in _bin_edges(roi[..., 1] / STRIDE, roi[..., 3] / STRIDE, GRIDS[:, :1], SIZE))
    left, right = (edge[0, 0] for edge in _bin_edges(roi[..., 0] / STRIDE, roi[..., 2] / STRIDE, GRIDS[:, 1:], SIZE))
    part = features[0, top[0] : bottom[-1], left[0] : right[-1]]
    rows = [part[top[i] - top[0] : bottom[i] - top[0]] for i in range(SIZE)]
    bins = [
        [tf.reduce_max(cells[:, left[i] - left[0] : right[i] - left[0]], [0, 1]) for i in range(SIZE)] for cells in rows
    ]
    return tf.reshape(tf.stack(bins), [1, 1, SIZE, SIZE, DEPTH])


def by_torchvision(
    op: str, backward: bool, features: np.ndarray, rois: np.ndarray, cotangent: np.ndarray
) -> Callable[[], torch.Tensor]:
    """Return a call of torchvision's operator."""
    maps = torch.from_numpy(features).permute(0, 3, 1, 2).contiguous().requires_grad_(backward)
    boxes = [torch.from_numpy(rois[0])]
    grown = torch.from_numpy(cotangent[0]).permute(0, 3, 1, 2).contiguous()

    def run() -> torch.Tensor:
        if op == "pool":
            pooled = torchvision.ops.roi_pool(maps, boxes, SIZE, 1 / STRIDE)
        elif op == "align":
            pooled = torchvision.ops.roi_align(maps, boxes, SIZE, 1 / STRIDE, SAMPLING_RATIO, aligned=True)
        else:
            samples = torchvision.ops.roi_align(maps, boxes, 2 * SIZE, 1 / STRIDE, 1, aligned=True)
            pooled = torch.nn.functional.max_pool2d(samples, 2)
        return torch.autograd.grad(pooled, maps, grown)[0] if backward else pooled

    return run


if __name__ == "__main__":
    main()
