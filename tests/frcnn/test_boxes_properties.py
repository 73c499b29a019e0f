"""What holds for all boxes: overlaps, clipping, mirroring, coding, and that NumPy and torch agree."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frcnn import boxes

# On a busy machine drawing may take long.
ALWAYS = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def box_lists(low: int, high: int, least: int = 1, most: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Return lists of boxes (n, 4) float64 of whole pixels and at least one pixel, between low and high."""
    interval = st.tuples(st.integers(low, high - 1), st.integers(1, high - low)).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], high))
    )
    box = st.tuples(interval, interval).map(lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))
    rows = st.lists(box, min_size=least, max_size=most)
    return rows.map(lambda found: np.array(found, np.float64).reshape(-1, 4))


def float_boxes(most: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Return boxes (n, 4) float32 of any fraction of a pixel, their sides between 0.5 and 600."""
    corner, side = st.floats(0, 1000, width=32), st.floats(0.5, 600, width=32)
    box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    return st.lists(box, min_size=1, max_size=most).map(lambda rows: np.array(rows, np.float32))


def float_deltas(count: int) -> st.SearchStrategy[np.ndarray]:
    """Return deltas (count, 4) float64, some of whose sizes lie beyond the clamp."""
    row = st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-6, 6), st.floats(-6, 6))
    return st.lists(row, min_size=count, max_size=count).map(np.array)


SMALL, WIDE = box_lists(0, 12), box_lists(0, 1000)


@given(SMALL, SMALL)
@ALWAYS
def test_iou_counts_pixels(a: np.ndarray, b: np.ndarray) -> None:
    def pixels(box: np.ndarray) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = map(int, box)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    expected = [[len(pixels(p) & pixels(q)) / len(pixels(p) | pixels(q)) for q in b] for p in a]
    np.testing.assert_array_equal(boxes.iou(a, b), expected)


@given(float_boxes(), float_boxes())
@ALWAYS
def test_iou_is_symmetric_and_between_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    for dtype in (np.float32, np.float64):
        overlap = boxes.iou(a.astype(dtype), b.astype(dtype))
        np.testing.assert_array_equal(overlap, boxes.iou(b.astype(dtype), a.astype(dtype)).T)
        assert ((overlap >= 0) & (overlap <= 1)).all()
        np.testing.assert_array_equal(np.diag(boxes.iou(a.astype(dtype), a.astype(dtype))), 1)


@given(SMALL, SMALL)
@ALWAYS
def test_iou_is_1_for_equal_boxes_only(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(boxes.iou(a, b) == 1, (a[:, None] == b[None]).all(-1))


@given(WIDE, WIDE, st.integers(-2000, 2000), st.integers(-2000, 2000), st.integers(-8, 8))
@ALWAYS
def test_iou_does_not_depend_on_place_scale_or_side(
    a: np.ndarray, b: np.ndarray, dx: int, dy: int, exponent: int
) -> None:
    expected = boxes.iou(a, b)
    shift, scale = np.array([dx, dy, dx, dy]), np.array([2.0**exponent, 4, 2.0**exponent, 4])
    np.testing.assert_array_equal(boxes.iou(a + shift, b + shift), expected)
    np.testing.assert_array_equal(boxes.iou(a * scale, b * scale), expected)
    np.testing.assert_array_equal(boxes.iou(boxes.flip(a, 1000), boxes.flip(b, 1000)), expected)
    swap = [1, 0, 3, 2]  # x and y
    np.testing.assert_array_equal(boxes.iou(a[:, swap], b[:, swap]), expected)


@given(WIDE, st.floats(0.1, 10))
@ALWAYS
def test_iou_hardly_depends_on_an_odd_scale_in_float32(a: np.ndarray, scale: float) -> None:
    scaled = (a * scale).astype(np.float32)
    np.testing.assert_allclose(boxes.iou(scaled, scaled), boxes.iou(a, a), atol=1e-3)


@given(WIDE, WIDE)
@ALWAYS
def test_iou_of_a_batch_is_that_of_each(a: np.ndarray, b: np.ndarray) -> None:
    stacked = boxes.iou(np.stack([a, a + 3]), np.stack([b, b]))
    np.testing.assert_array_equal(stacked, [boxes.iou(a, b), boxes.iou(a + 3, b)])


@given(SMALL, st.integers(0, 12), st.integers(0, 12))
@ALWAYS
def test_an_empty_box_overlaps_nothing(a: np.ndarray, x: int, y: int) -> None:
    for empty in ([x, y, x, y], [x, y, x + 3, y], [x, y, x, y + 3]):
        overlap = boxes.iou(np.concatenate([a, [empty]]), np.array([empty], np.float64))
        np.testing.assert_array_equal(overlap, 0)


@given(box_lists(-300, 900), st.floats(1, 600), st.floats(1, 600))
@ALWAYS
def test_clip_moves_boxes_into_the_image_and_leaves_what_lies_there(a: np.ndarray, width: float, height: float) -> None:
    clipped = boxes.clip(a, width, height)
    np.testing.assert_array_equal(boxes.clip(clipped, width, height), clipped)
    assert (clipped >= 0).all()
    assert (clipped <= [width, height] * 2).all()
    assert (clipped[:, 2:] >= clipped[:, :2]).all()
    inside = ((a >= 0) & (a <= [width, height] * 2)).all(1)
    np.testing.assert_array_equal(clipped[inside], a[inside])
    # What a box shares with the image is what is left of it.
    image = np.array([[0, 0, width, height]])
    shared = np.minimum(a[:, 2:], image[:, 2:]) - np.maximum(a[:, :2], 0)
    np.testing.assert_allclose(boxes.area(clipped), np.maximum(shared, 0).prod(1), rtol=1e-12)


@given(WIDE, st.integers(1, 4000))
@ALWAYS
def test_flip_is_an_involution_and_keeps_size_and_order(a: np.ndarray, width: int) -> None:
    flipped = boxes.flip(a, width)
    np.testing.assert_array_equal(boxes.flip(flipped, width), a)
    np.testing.assert_array_equal(flipped[:, 2:] - flipped[:, :2], a[:, 2:] - a[:, :2])
    np.testing.assert_array_equal(flipped[:, [0, 2]].sum(1), 2 * width - a[:, [0, 2]].sum(1))
    np.testing.assert_array_equal(flipped[:, [1, 3]], a[:, [1, 3]])


@given(float_boxes(), st.floats(100, 2000, width=32))
@ALWAYS
def test_flip_of_fractions_comes_back_but_for_rounding(a: np.ndarray, width: float) -> None:
    np.testing.assert_allclose(boxes.flip(boxes.flip(a, width), width), a, atol=3e-4)


@given(st.data(), float_boxes(), st.booleans())
@ALWAYS
def test_decode_undoes_encode(data: st.DataObject, targets: np.ndarray, single: bool) -> None:
    references = np.stack([data.draw(float_boxes(1))[0] for _ in targets])
    dtype, tolerance = (np.float32, 5e-3) if single else (np.float64, 1e-9)
    targets, references = targets.astype(dtype), references.astype(dtype)
    deltas = boxes.encode(targets, references)
    assert deltas.dtype == dtype
    np.testing.assert_allclose(boxes.decode(deltas, references, clamp=False), targets, atol=tolerance)
    small = (deltas[:, 2:] < boxes.MAX_LOG_SCALE).all(1)
    np.testing.assert_array_equal(
        boxes.decode(deltas, references)[small], boxes.decode(deltas, references, clamp=False)[small]
    )


@given(st.data(), float_boxes())
@ALWAYS
def test_encode_undoes_decode(data: st.DataObject, references: np.ndarray) -> None:
    references, deltas = references.astype(np.float64), data.draw(float_deltas(len(references)))
    decoded = boxes.decode(deltas, references, clamp=False)
    np.testing.assert_allclose(boxes.encode(decoded, references), deltas, atol=1e-8)
    # With the clamp what comes back is the limited delta; the center does not notice.
    limited = np.column_stack([deltas[:, :2], deltas[:, 2:].clip(max=math.log(1000 / 16))])
    np.testing.assert_allclose(boxes.encode(boxes.decode(deltas, references), references), limited, atol=1e-8)


@given(WIDE, st.integers(-900, 900), st.integers(-3, 3))
@ALWAYS
def test_deltas_know_neither_place_nor_scale(a: np.ndarray, shift: int, exponent: int) -> None:
    references = boxes.flip(a, 1000) + [3, 5, 8, 9]
    deltas = boxes.encode(a, references)
    np.testing.assert_array_equal(boxes.encode(a + shift, references + shift), deltas)
    np.testing.assert_array_equal(boxes.encode(a * 2.0**exponent, references * 2.0**exponent), deltas)
    np.testing.assert_array_equal(boxes.encode(a, a), 0)
    np.testing.assert_array_equal(boxes.decode(np.zeros_like(a), a), a)
    mirrored = boxes.encode(boxes.flip(a, 1000), boxes.flip(references, 1000))
    np.testing.assert_array_equal(mirrored, deltas * [-1, 1, 1, 1])


@given(st.data(), float_boxes())
@ALWAYS
def test_numpy_and_torch_give_the_same_bits(data: st.DataObject, a: np.ndarray) -> None:
    b = np.stack([data.draw(float_boxes(1))[0] for _ in a])
    deltas = data.draw(float_deltas(len(a))).astype(np.float32)
    torch_a, torch_b = torch.from_numpy(a), torch.from_numpy(b)
    for ours, theirs in [
        (boxes.iou(torch_a, torch_b), boxes.iou(a, b)),
        (boxes.area(torch_a), boxes.area(a)),
        (boxes.clip(torch_a, 517.3, 400.9), boxes.clip(a, 517.3, 400.9)),
        (boxes.flip(torch_a, 500), boxes.flip(a, 500)),
        (boxes.encode(torch_a, torch_b)[..., :2], boxes.encode(a, b)[..., :2]),
    ]:
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(ours.numpy(), theirs)
    # exp and log are not rounded correctly by either.
    np.testing.assert_allclose(boxes.encode(torch_a, torch_b).numpy(), boxes.encode(a, b), atol=1e-6)
    found = boxes.decode(torch.from_numpy(deltas), torch_b).numpy()
    np.testing.assert_allclose(found, boxes.decode(deltas, b), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("clamp", [True, False])
@given(data=st.data())
@ALWAYS
def test_decoded_boxes_have_their_sides_in_order(data: st.DataObject, clamp: bool) -> None:
    references = data.draw(float_boxes()).astype(np.float64)
    decoded = boxes.decode(data.draw(float_deltas(len(references))), references, clamp)
    sides, before = decoded[:, 2:] - decoded[:, :2], references[:, 2:] - references[:, :2]
    assert (sides > 0).all()
    if clamp:
        assert (sides <= before * 1000 / 16 * (1 + 1e-9)).all()
