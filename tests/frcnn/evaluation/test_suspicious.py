"""Annotations and detections that contradict each other."""

import csv
import io

import numpy as np
from hypothesis import given

from frcnn.evaluation.suspicious import suspicious, suspicious_table
from frcnn.evaluation.voc_ap import Objects
from tests.flat_detections import Scored, by_image, objects_of, scored_of
from tests.scenes import ALWAYS, IMAGES, NAMES, perfect, scenes, truth

ONE, PART, TOUCHING, TWO, AWAY = [0, 0, 10, 10], [0, 0, 10, 4], [0, 0, 10, 2], [20, 0, 40, 20], [50, 50, 60, 60]
OBJECTS = objects_of(
    (0, ONE, 1, False),  # found with confidence
    (0, TWO, 1, False),  # nothing is there
    (1, ONE, 1, False),  # claimed by b
    (1, TWO, 2, True),  # difficult: nothing is there, which is no wonder
    (2, ONE, 1, False),  # claimed by b, but found, too
    (3, ONE, 1, False),  # only touched, with little confidence
    (3, AWAY, 2, False),  # nothing is there
)
DETECTIONS = scored_of(
    (0, ONE, 0.9, 1),
    (0, AWAY, 0.8, 2),  # no object
    (0, [70, 70, 80, 80], 0.3, 2),  # no object, but little confidence
    (1, ONE, 0.7, 2),
    (1, ONE, 0.65, 2),  # claims the same object
    (1, [20, 0, 40, 10], 0.75, 1),  # touches a difficult object
    (2, ONE, 0.85, 1),
    (2, ONE, 0.9, 2),
    (2, AWAY, 0.95, 1),  # no object
    (3, TOUCHING, 0.1, 2),
)


def test_what_contradicts() -> None:
    found = suspicious(OBJECTS, by_image(DETECTIONS, NAMES), 0.6)
    assert [(each.kind, each.image, each.label, round(each.score, 2), each.object) for each in found[:2]] == [
        ("no object", 2, 1, 0.95, -1),
        ("no object", 0, 2, 0.8, -1),
    ]
    assert [(each.kind, each.image, each.label, each.object) for each in found[2:]] == [
        ("never detected", 0, 1, 1),
        ("never detected", 3, 2, 6),
        ("other class", 1, 2, 2),
    ]
    assert all(np.isnan(each.score) for each in found[2:4])
    assert round(found[4].score, 2) == 0.7
    assert [each.box.tolist() for each in found] == [AWAY, AWAY, TWO, AWAY, ONE]


def test_table_counts_objects_of_a_picture_from_1() -> None:
    found = suspicious(OBJECTS, by_image(DETECTIONS, NAMES), 0.6)
    rows = list(csv.DictReader(io.StringIO(suspicious_table(found, OBJECTS, ["x", "y", "z", "=w"], ["a", "b"]))))
    assert [tuple(row.values())[:6] for row in rows] == [
        ("z", "no object", "", "", "a", "0.95"),
        ("x", "no object", "", "", "b", "0.8"),
        ("x", "never detected", "2", "a", "", ""),
        ("'=w", "never detected", "2", "b", "", ""),
        ("y", "other class", "1", "a", "b", "0.7"),
    ]
    assert [rows[2][name] for name in ("x1", "y1", "x2", "y2")] == ["20", "0", "40", "20"]
    assert suspicious_table([], OBJECTS, [], []) == "image,kind,object,annotated,detected,score,x1,y1,x2,y2\n"


@given(truth())
@ALWAYS
def test_perfect_detections_leave_nothing_suspicious(objects: Objects) -> None:
    detections = perfect(objects)
    assert suspicious(objects, by_image(detections, NAMES, IMAGES), 0.0) == []


@given(scenes())
@ALWAYS
def test_an_object_is_named_once_and_a_detection_is_confident(scene: tuple[Objects, Scored]) -> None:
    objects, detections = scene
    found = suspicious(objects, by_image(detections, NAMES, IMAGES), 0.4)
    named = [each.object for each in found if each.object >= 0]
    assert len(set(named)) == len(named)
    assert not objects.difficult[named].any()
    assert all(each.score >= 0.4 for each in found if each.kind != "never detected")
    for each in found:
        assert each.object < 0 or objects.images[each.object] == each.image
        assert each.kind != "other class" or objects.labels[each.object] != each.label
