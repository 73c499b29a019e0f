"""`frcnn preset` writes a complete parameter file and replaces none unasked; `frcnn --version`."""

from pathlib import Path

import pytest

from frcnn import __version__
from frcnn.errors import UserError
from frcnn.params import load_params
from stages import preset
from tests.factories import Command


def test_a_preset_becomes_params_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    preset.run("demo")
    assert load_params(Path("params.yaml")) == load_params(Path("demo"))
    with pytest.raises(UserError, match="params.yaml: exists; add --force to replace it"):
        preset.run("reference")
    assert load_params(Path("params.yaml")) == load_params(Path("demo"))
    preset.run("reference", force=True)
    assert load_params(Path("params.yaml")) == load_params(Path("reference"))
    with pytest.raises(UserError, match="paper: no such preset"):
        preset.run("paper", Path("other.yaml"))
    assert not Path("other.yaml").exists()


def test_version(frcnn: Command) -> None:
    assert frcnn("--version") == (0, f"frcnn {__version__}", "")
