"""params.yaml for a preset: complete, with all comments, only the values and the first comment replaced."""

from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.params import PRESETS, load_params
from frcnn.presets import commented_params
from frcnn.template import project_file
from tests.factories import ROOT


@pytest.mark.parametrize("name", ["demo", "finetune", "reference"])
def test_a_complete_file_has_the_values_of_the_preset(tmp_path: Path, name: str) -> None:
    text, default = commented_params(name), commented_params("default")
    (tmp_path / "params.yaml").write_text(text)
    assert load_params(tmp_path / "params.yaml") == load_params(Path(name))
    head, _, body = text.partition("\n\n")
    first, *title, last = head.splitlines()
    assert first == "# yaml-language-server: $schema=params.schema.json"
    assert "\n".join(title) == (PRESETS / f"{name}.yaml").read_text().partition("\n\n")[0]
    assert last.startswith("# Every value that changes a result is here.")
    for line, original in zip(body.splitlines(), default.partition("\n\n")[2].splitlines(), strict=True):
        assert line.partition("#")[1:] == original.partition("#")[1:]
        assert line.partition(":")[0] == original.partition(":")[0]


def test_the_defaults_are_written_as_they_are() -> None:
    assert commented_params("default") == (PRESETS / "default.yaml").read_text()


def test_further_values() -> None:
    text = commented_params("demo", {"train": {"framework": "tensorflow"}})
    assert "  framework: tensorflow       # torch, or tensorflow if its extra is installed\n" in text


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match="paper: no such preset; choose from default, demo, finetune, reference"):
        commented_params("paper")


def test_the_files_of_the_project_are_found() -> None:
    assert project_file("dvc.yaml") == ROOT / "dvc.yaml"
