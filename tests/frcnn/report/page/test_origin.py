from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.params import Params, load_params
from frcnn.report.page.origin import nearest_preset
from frcnn.report.page.training_curves import read_logs, training_figure

LOG = "epoch,step,images,learning_rate,loss_rpn_cls,loss\n1,100,800,0.001,0.5,2.0\n1,150,400,0.001,0.4,1.5\n"


def test_the_nearest_preset_and_what_differs() -> None:
    assert nearest_preset(Params()) == ("default", [])
    assert nearest_preset(load_params(Path("demo"))) == ("demo", [])
    preset, changes = nearest_preset(load_params(Path("demo"), ["train.seed=7", "anchors.anchor_sizes=[16, 32]"]))
    assert preset == "demo"
    assert changes == [
        ("anchors.anchor_sizes", "[[16.0, 32.0]]", "[[24.0, 48.0, 96.0]]"), ("train.seed", "7", "1"),
    ]  # fmt: skip


def test_both_phases_are_in_one_plot(tmp_path: Path) -> None:
    (tmp_path / "train_phase1.csv").write_text(LOG)
    (tmp_path / "train_phase2.csv").write_text(LOG.replace(",loss\n", ",loss,val_mAP\n").replace("1.5\n", "1.5,0.6\n"))
    axes = training_figure(read_logs(tmp_path)).axes
    assert [each.get_ylabel() for each in axes] == ["Loss", "Learning rate", "Validation mAP"]
    loss = axes[0].get_lines()[0]
    assert loss.get_xdata().tolist() == [100, 150, 250, 300]
    assert loss.get_ydata().tolist() == [2, 1.5, 2, 1.5]
    assert axes[2].get_lines()[0].get_xdata().tolist() == [300]


def test_logs_may_be_absent_or_empty(tmp_path: Path) -> None:
    (tmp_path / "train_phase2.csv").write_text("epoch,step,images,learning_rate,loss\n")
    assert read_logs(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", LOG.replace("2.0", "much")], ids=["empty", "other", "no number"])
def test_what_is_no_log(tmp_path: Path, text: str) -> None:
    (tmp_path / "train_phase1.csv").write_text(text)
    with pytest.raises(UserError, match=r"train_phase1\.csv: no log of training"):
        read_logs(tmp_path)
