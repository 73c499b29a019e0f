"""Batches depend on seed, phase, epoch and place alone, and put every anchor where it belongs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.anchors.grid import anchor_grid
from frcnn.anchors.label import LabeledImage, label_image
from frcnn.anchors.targets import join_images
from frcnn.boxes import decode, flip
from frcnn.data.voc.annotation import Annotation
from frcnn.detector.batch import Batch
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.params.augment import Chance
from frcnn.training.batches import EpochBatches, Source, load_sample, loader
from frcnn.training.minibatch import sample_anchors
from frcnn.training.picture_cache import PictureCache
from frcnn.training.plan import plan_epoch
from tests.factories import LINUX, change, grid_of, one_map

SIZES = [(160, 176), (200, 160), (160, 160), (160, 208), (192, 160), (161, 160), (224, 160)]

ARRAYS = ("images", "gt_boxes", "gt_labels", "anchor_index", "anchor_labels", "anchor_deltas", "roi_priorities")


@pytest.fixture
def source(params: Params, tmp_path: Path) -> Source:
    """Seven pictures of one object each, whose red channel tells the column."""
    annotations, images, paths = [], [], []
    ones, easy = np.ones(1, np.int64), np.zeros(1, bool)
    for i, (width, height) in enumerate(SIZES):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[..., 0] = np.arange(width)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(picture).save(paths[-1])
        box = np.array([[20 + i, 30, 60, 80]], np.float32)
        labels, mirrored = (
            label_image(boxes, SIZES[i], params.model.backbone, params.anchors) for boxes in (box, flip(box, width))
        )
        annotations.append(Annotation(str(i), paths[-1], width, height, box, ones, easy))
        images.append(LabeledImage(SIZES[i], labels, mirrored, ones))
    return Source(join_images(annotations, images, ["a"]), paths, params)


@pytest.fixture
def augmented(source: Source) -> Source:
    """Return the same with everything that can be changed in a picture."""
    changes = {"preset": "strong", "geometric.rotate": Chance(probability=0.5)}
    return replace(source, params=change(source.params, {f"augment.{key}": value for key, value in changes.items()}))


def unchanged(batch: Batch) -> Batch:
    return batch


def epoch(source: Source, number: int = 0, phase: int = 1) -> EpochBatches:
    plan = plan_epoch(source.targets.size, source.params.train, np.arange(len(source.targets)), phase, number)
    return EpochBatches(source, plan, (phase, number), unchanged)


def test_every_image_once_and_orientations_apart(source: Source) -> None:
    plan = epoch(source).plan
    assert sorted(np.concatenate(plan).tolist()) == list(range(7))
    for indices in plan:
        assert len({SIZES[i][1] > SIZES[i][0] for i in indices}) == 1


def test_epochs_and_phases_differ_and_repeat(source: Source) -> None:
    orders = [np.concatenate(epoch(source, *key).plan).tolist() for key in [(0, 1), (1, 1), (0, 2), (0, 1)]]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["source", "augmented"])
def test_the_same_bytes_from_any_start_and_any_number_of_workers(
    request: pytest.FixtureRequest, kind: str, workers: int
) -> None:
    source = request.getfixturevalue(kind)
    wanted = [epoch(source)[step] for step in range(len(epoch(source)))]
    for start in (0, 1):
        found = list(loader(epoch(source), start, workers, pin=False))
        assert len(found) == len(wanted) - start
        for batch, expected in zip(found, wanted[start:], strict=True):
            assert batch.image_ids == expected.image_ids
            assert batch.sizes == expected.sizes
            for name in ARRAYS:
                np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name))


def test_sampled_anchors_lead_to_the_objects_in_the_padded_grid(source: Source) -> None:
    params = source.params
    for batch in loader(epoch(source), 0, 0, pin=False):
        height, width = batch.images.shape[1:3]
        anchors = anchor_grid(one_map(*grid_of((width, height), params.model.backbone)), params.anchors)
        for i in range(len(batch.sizes)):
            positive = batch.anchor_labels[i] == 1
            chosen = anchors[batch.anchor_index[i][positive]]
            decoded = decode(batch.anchor_deltas[i][positive], chosen)
            assert len(decoded)
            np.testing.assert_allclose(
                decoded, np.broadcast_to(batch.gt_boxes[i, :1], decoded.shape), rtol=0, atol=1e-3
            )
            used = anchors[batch.anchor_index[i][batch.anchor_labels[i] >= 0]]
            assert (used[:, 2] <= batch.sizes[i][0]).all()


def test_without_augmentation_labels_are_those_of_the_file(source: Source) -> None:
    """Picture, labels and samples as they were before there was augmentation, step by step."""
    flipped = 0
    for index in range(len(SIZES)):
        rng = np.random.default_rng((source.params.train.seed, 1, 1, 5, index))
        flip = rng.random() < source.params.train.flip_probability
        labels, gt_labels = source.targets.image(index, flip)
        pixels = np.asarray(Image.open(source.pictures[index]))
        sample = load_sample(source, index, (1, 5, index))
        np.testing.assert_array_equal(sample.image, pixels[:, ::-1] if flip else pixels)
        np.testing.assert_array_equal(sample.gt_boxes, labels.gt_boxes)
        expected = sample_anchors(labels, source.params.train.rpn, rng)
        for name, array in zip(("anchor_index", "anchor_labels", "anchor_deltas"), expected, strict=True):
            np.testing.assert_array_equal(getattr(sample, name), array)
        count = source.params.train.rpn.post_nms_topk + len(gt_labels)
        np.testing.assert_array_equal(sample.roi_priorities, rng.random(count, np.float32))
        flipped += flip
    assert 0 < flipped < len(SIZES)


def test_moved_objects_have_labels_of_their_own_and_an_image_may_lose_all(augmented: Source) -> None:
    params, empty, full = augmented.params, 0, 0
    for index in range(len(SIZES)):
        for number in range(8):
            sample = load_sample(augmented, index, (1, number, index))
            size = sample.image.shape[1::-1]
            assert size == SIZES[index]
            labels = label_image(sample.gt_boxes, size, params.model.backbone, params.anchors)
            positive = sample.anchor_index[sample.anchor_labels == 1]
            assert set(positive) <= set(labels.positive_index)
            assert len(positive) == min(len(labels.positive_index), params.train.rpn.batch_size // 2)
            assert len(sample.gt_labels) == len(sample.gt_boxes)
            assert (sample.anchor_labels >= 0).any()
            empty, full = empty + (not len(sample.gt_boxes)), full + len(sample.gt_boxes)
    assert empty > 0
    assert full > 20


def test_picture_and_boxes_are_flipped_together(source: Source) -> None:
    flipped = 0
    for batch in loader(epoch(source), 0, 0, pin=False):
        for i, (width, _) in enumerate(batch.sizes):
            index = int(batch.image_ids[i])
            mirrored = batch.images[i, 0, 0, 0] > 100  # the last column comes first
            expected = np.array([20 + index, 30, 60, 80], np.float32)
            wanted = flip(expected, width) if mirrored else expected
            np.testing.assert_array_equal(batch.gt_boxes[i, 0], wanted)
            flipped += int(mirrored)
    assert 0 < flipped < 7


def test_padding_is_zero(source: Source) -> None:
    for batch in loader(epoch(source), 0, 0, pin=False):
        for image, (width, height) in zip(batch.images, batch.sizes, strict=True):
            assert not image[height:].any()
            assert not image[:, width:].any()


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("kind", ["source", "augmented"])
def test_parts_hold_every_image_as_the_whole_batch_does(request: pytest.FixtureRequest, kind: str, world: int) -> None:
    source = request.getfixturevalue(kind)
    plan = epoch(source).plan
    lonely = 0
    for step, whole in enumerate(epoch(source)[step] for step in range(len(plan))):
        for rank in range(world):
            part = EpochBatches(source, plan, (1, 0), unchanged, share=(rank, world))[step]
            places = list(range(rank, len(plan[step]), world))
            lonely += not places
            places = places or [0]
            assert part.image_ids == [whole.image_ids[i] for i in places]
            assert part.sizes == [whole.sizes[i] for i in places]
            for name in ARRAYS:
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[places], name)
            assert part.images.strides[1:] == whole.images.strides[1:]
    assert lonely, "no process was without an image"


def test_a_picture_that_changed_is_refused(source: Source) -> None:
    Image.new("RGB", (50, 50)).save(source.pictures[0])
    with pytest.raises(UserError, match=r"0.png: not the size that anchors.h5 was made for"):
        list(loader(epoch(source), 0, 0, pin=False))


def test_single_images_are_never_padded(source: Source) -> None:
    params = change(source.params, {"train.batch_size": 1})
    for batch in loader(epoch(replace(source, params=params)), 0, 0, pin=False):
        assert batch.images.shape == (1, batch.sizes[0][1], batch.sizes[0][0], 3)


def test_a_folder_whose_name_is_too_long_for_sockets(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch would wait for ever."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("n" * 80)))
    assert list(loader(epoch(source), 0, workers=0, pin=False))
    with pytest.raises(UserError, match="n: too long a path for loading processes; set TMPDIR to a shorter path, or"):
        loader(epoch(source), 0, workers=2, pin=False)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=LINUX)])
@pytest.mark.parametrize("kind", ["source", "augmented"])
def test_a_cache_changes_no_batch_and_spares_reading(request: pytest.FixtureRequest, kind: str, workers: int) -> None:
    source = request.getfixturevalue(kind)
    cached = replace(source, cache=PictureCache(source.targets.size))
    for number in range(2):
        wanted = list(loader(epoch(source, number), 0, 0, pin=False))
        if number:  # then all are in memory
            for path in source.pictures:
                path.unlink()
        found = list(loader(epoch(cached, number), 0, workers, pin=False))
        for batch, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(batch.images, expected.images)


def test_little_is_padded(params: Params) -> None:
    """Sizes as in VOC2007 at 600 px, batches of 16."""
    rng = np.random.default_rng(0)
    sizes = np.array([(800, 600)] * 56 + [(901, 600)] * 17 + [(600, 800)] * 10 + [(600, 901)] * 5)
    odd = np.stack([rng.integers(750, 1000, 12), np.full(12, 600)], 1)
    drawn = rng.permutation(np.concatenate([sizes, odd]).repeat(40, 0))
    params = change(params, {"train.batch_size": 16})
    plan, other = (plan_epoch(drawn, params.train, np.arange(len(drawn)), 1, epoch) for epoch in (0, 1))
    padded = sum(len(batch) * drawn[batch].max(0).prod() for batch in plan)
    assert 1 - drawn.prod(1).sum() / padded < 0.05
    assert len({tuple(sorted(batch)) for batch in plan + other}) > len(plan)
