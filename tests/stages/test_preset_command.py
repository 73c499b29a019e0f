"""`frcnn preset` writes a complete parameter file and replaces none unasked; `frcnn --version`."""

import sys
from pathlib import Path

import pytest

import frcnn
from frcnn.errors import UserError
from frcnn.params import load_params
from stages import cli, preset


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


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["frcnn", "--version"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"frcnn {frcnn.__version__}\n"
