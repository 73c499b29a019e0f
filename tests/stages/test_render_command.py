from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.colors import BLACK, WHITE, class_color
from frcnn.detections.detections import Detections, join_detections
from frcnn.detections.hdf5 import write_detections
from frcnn.errors import UserError
from stages import render
from tests.factories import ROOT

PARAMS = ROOT / "params.yaml"
IDS = [f"{i:03}" for i in range(12)]
XML = """<annotation><size><width>500</width><height>400</height><depth>3</depth></size><object><name>bolt</name>
<bndbox><xmin>101</xmin><ymin>101</ymin><xmax>200</xmax><ymax>200</ymax></bndbox></object></annotation>"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Twelve pictures with a bolt; on each a sure wrench elsewhere and an unsure bolt."""
    root = tmp_path / "dataset"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("bolt\nwrench\n")
    (root / "ImageSets/Main/test.txt").write_text("\n".join(IDS))
    for i, name in enumerate(IDS):
        Image.new("RGB", (500, 400), (i, 90, 90)).save(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations" / f"{name}.xml").write_text(XML)
    one = Detections(np.array([[250, 250, 350, 350], [20, 20, 80, 80]]), np.array([0.9, 0.3]), np.array([2, 1]))
    detections = join_detections(IDS[::-1], ["bolt", "wrench"], [one] * 12, "test")
    for name in ("d.h5", "d.json"):
        write_detections(tmp_path / name, detections)
    return tmp_path


def run(project: Path, *overrides: str) -> dict[str, np.ndarray]:
    out = project / "renders"
    render.run(project / "dataset", project / "d.h5", out, None, PARAMS, list(overrides))
    return {path.name: np.asarray(Image.open(path)) for path in sorted(out.iterdir())}


def has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.all(image == color, axis=2).any())


def test_draws_the_number_asked_for_and_an_overview(project: Path, capsys: pytest.CaptureFixture) -> None:
    pictures = run(project, "render.images=3")
    overview = pictures.pop("overview.png")
    assert len(pictures) == 3
    assert min(overview.shape[:2]) > 250
    for image in pictures.values():
        assert image.shape[0] > 400
        assert has(image[:400], WHITE)
        assert has(image, class_color(2))
        assert not has(image, class_color(1))
    out = project / "renders"
    assert capsys.readouterr().out == f"{out}: 3 of 12 test pictures; {out / 'overview.png'} shows them together\n"


def test_coco_results_are_drawn_alike(project: Path) -> None:
    expected = run(project, "render.images=2")
    render.run(project / "dataset", project / "d.json", project / "others", None, PARAMS, ["render.images=2"])
    for name, picture in expected.items():
        np.testing.assert_array_equal(np.asarray(Image.open(project / "others" / name)), picture)


def test_score_threshold(project: Path) -> None:
    pictures = run(project, "render.images=1", "render.score_threshold=0.2")
    assert has(next(iter(pictures.values())), class_color(1))


def test_mistakes_are_marked_as_the_measures_count_them(project: Path) -> None:
    """A bolt of 100 x 100 px is found by 60 x 100 px at IoU 0.5, not 0.7; a bolt and a wrench elsewhere are wrong."""
    boxes, labels = np.array([[100, 100, 160, 200], [300, 100, 400, 200], [300, 250, 400, 350]]), np.array([1, 1, 2])
    image = Detections(boxes, np.array([0.9, 0.8, 0.7]), labels)
    write_detections(project / "d.h5", join_detections(IDS, ["bolt", "wrench"], [image] * 12, "test"))
    legends = []
    for threshold, wrong in ((0.5, [False, True, True]), (0.7, [True, True, True])):
        picture = next(iter(run(project, f"evaluate.iou_threshold={threshold}", "render.images=1").values()))
        right_edges = [picture[y1 + 10 : y2 - 10, x2 - 1] for _, y1, x2, y2 in boxes]
        whole = [np.all(edge == class_color(label)) for edge, label in zip(right_edges, labels, strict=True)]
        assert whole == [not each for each in wrong]
        assert bool(np.all(picture[203:220, 100:200] == BLACK, axis=2).any()) == wrong[0]  # ground of "bolt missed"
        legends.append(picture[400:])
    assert not np.array_equal(*legends)  # it names the threshold


def test_seed_chooses_and_old_pictures_go(project: Path) -> None:
    first = run(project, "render.images=3")
    (project / "renders" / "stale.png").write_bytes(b"")
    other = run(project, "render.images=3", "render.seed=2")
    assert set(first) != set(other)
    assert "stale.png" not in other
    again = run(project, "render.images=3")
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_a_folder_of_something_else_is_left_alone(project: Path) -> None:
    (project / "renders").mkdir()
    (project / "renders" / "holiday.png").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"holds files of something else \(no overview\.png\)"):
        run(project)
    assert (project / "renders" / "holiday.png").read_bytes() == b"precious"


def test_fewer_pictures_than_asked_for(project: Path) -> None:
    assert len(run(project, "render.images=50")) == 13


def test_unreadable_picture_leaves_the_old_folder(project: Path) -> None:
    before = sorted(run(project))
    for path in (project / "dataset/JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"\.png"):
        run(project, "render.images=2")
    assert sorted(path.name for path in (project / "renders").iterdir()) == before
    assert not [path for path in project.iterdir() if path.name.endswith(".tmp")]


def test_detections_of_another_split(project: Path) -> None:
    (project / "dataset/ImageSets/Main/val.txt").write_text("000\n")
    with pytest.raises(UserError, match="split 'test', not 'val'"):
        render.run(project / "dataset", project / "d.h5", project / "renders", "val", PARAMS)
