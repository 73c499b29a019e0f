from pathlib import Path

from tests.factories import Command, voc_object, write_voc


def test_the_last_line_counts_objects_without_an_anchor(frcnn: Command, tmp_path: Path) -> None:
    """Anchors of 64 x 64 px: one object on an anchor, one of half its width, one of half its width and height.

    The second overlaps it by exactly a half, which is enough; the third by a quarter.
    """
    corners = (89, 89, 152, 152), (89, 89, 120, 152), (105, 105, 136, 136)
    objects = "".join(voc_object(box=box) for box in corners)
    folder = write_voc(tmp_path / "voc", {"1": objects}, size=(320, 320))
    changes = "data.min_size=320", "anchors.anchor_sizes=[64]", "anchors.anchor_ratios=[1]"
    options = [word for change in changes for word in ("-S", change)]
    out = tmp_path / "anchors.h5"
    code, printed, _ = frcnn("anchors", "--params", "demo", *options, "--dataset", str(folder), "--out", str(out))
    assert code == 0
    assert printed.splitlines()[-1].endswith("1 objects have no anchor of IoU 0.5 or more")
