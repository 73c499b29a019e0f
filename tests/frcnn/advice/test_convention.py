"""What numbers at the borders say about where counting starts."""

from pathlib import Path

import pytest

from frcnn.advice.convention import Evidence, count_at_borders
from frcnn.data.voc.dataset import VocDataset
from tests.factories import voc_object, write_voc


@pytest.mark.parametrize(
    ("box", "evidence", "convention"),
    [
        ((0, 0, 99, 79), Evidence(6, 0, 0, 6), "continuous"),  # indices of pixels from 0
        ((0, 0, 100, 80), Evidence(6, 0, 6, 0), "continuous"),  # of an area of 100 x 80 px
        ((1, 1, 100, 80), Evidence(0, 6, 6, 0), "voc"),
        ((1, 30, 99, 60), Evidence(0, 3, 0, 3), None),  # contradictory
        ((10.5, 30, 60, 60), Evidence(0, 0, 0, 0), None),
    ],
)
def test_numbers_at_the_borders(
    tmp_path: Path, box: tuple[float, ...], evidence: Evidence, convention: str | None
) -> None:
    """Three pictures of 100 x 80 px with the same object."""
    dataset = write_voc(tmp_path / "voc", {name: voc_object(box=box) for name in "abc"})
    counted = count_at_borders(VocDataset(dataset))
    assert (counted, counted.convention) == (evidence, convention)


def test_a_few_zeros_among_many_ones_do_not_tell() -> None:
    assert Evidence(zeros=2, ones=50, full=40, short=0).convention == "voc"
    assert Evidence(zeros=2, ones=0, full=2, short=0).convention is None


def test_files_that_state_theirs_or_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "voc", {name: voc_object(box=(0, 0, 100, 80)) for name in "abcd"})
    folder = dataset / "Annotations"
    folder.joinpath("a.xml").write_text(folder.joinpath("a.xml").read_text()[:30])
    stated = folder.joinpath("b.xml").read_text().replace("<annotation>", '<annotation boxes="continuous">')
    folder.joinpath("b.xml").write_text(stated)
    folder.joinpath("c.xml").write_text(folder.joinpath("c.xml").read_text().replace(">100<", ">wide<"))
    (dataset / "JPEGImages/d.jpg").write_bytes(b"")
    assert count_at_borders(VocDataset(dataset)) == Evidence(0, 0, 0, 0)
