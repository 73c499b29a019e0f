"""The code of docs/python.md runs as it stands, in a folder as `frcnn demo` makes it."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import frcnn
from frcnn.params import Params
from tests.factories import ROOT, write_random_weights


@pytest.mark.slow
def test_the_page(params: Params, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/models").mkdir(parents=True)
    (tmp_path / "data/dataset").symlink_to(dataset)
    write_random_weights(tmp_path / "data/models/phase2.safetensors", dataset, params)
    monkeypatch.chdir(tmp_path)
    train, names = frcnn.train, dict[str, Any]()

    def small(*arguments: Any) -> frcnn.Predictor:
        *rest, overrides = arguments
        return train(*rest, overrides | {"model.width": 16, "train.precision": "float32"}, device="cpu")

    monkeypatch.setattr(frcnn, "train", small, raising=False)
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    with Image.open("out.jpg") as drawn:
        assert drawn.format == "JPEG"
    assert names["summary"]["images"] == 6
    assert names["again"].class_names == names["detector"].class_names
    assert Path("short/metrics/train_phase2.csv").is_file()


def test_the_readme_shows_calls_that_exist() -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    compile(block, "README.md", "exec")
    for name in re.findall(r"frcnn\.(\w+)\(", block):
        assert callable(getattr(frcnn, name))
    for name in re.findall(r"result\.(\w+)", block):
        assert hasattr(frcnn.Result, name) or name in frcnn.Result.__dataclass_fields__
