"""What the tests share: a small drawn dataset, small parameters, the folder of golden files."""

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch is imported; more only fight on small maps

import pytest

from frcnn.params import Params, load_params
from tests.factories import ROOT, write_anchors

os.environ["PYTHONPATH"] = str(ROOT)  # for the commands that tests start in other folders
# Tests of signals, forks and kills.
POSIX_FILES = ["crash", "fuzz", "stages/test_like_windows.py", "stages/test_nproc.py", "stages/test_train_command.py"]
collect_ignore = [] if os.name == "posix" else POSIX_FILES
# Fast rather than good: enough to run every line.
SMALL = (
    "download.synthetic.train_images=12",
    "download.synthetic.val_images=4",
    "download.synthetic.test_images=6",
    "model.width=16",
    "train.batch_size=4",
    "train.precision=float32",
    "train.rpn.pre_nms_topk=200",
    "train.rpn.post_nms_topk=50",
    "train_phase1.epochs=2",
    "train_phase2.epochs=1",
    "detect.precision=float32",
    "detect.pre_nms_topk=200",
    "detect.post_nms_topk=30",
    "render.images=2",
)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 12 training, 4 validation and 6 test pictures; not to be changed."""
    from frcnn.sources.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("drawn") / "dataset"
    draw_dataset(folder, train_images=12, val_images=4, test_images=6, seed=3, workers=1)
    return folder


@pytest.fixture(scope="session")
def anchors(params: Params, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Anchor targets of that dataset; not to be changed."""
    return write_anchors(params, dataset, tmp_path_factory.mktemp("anchors") / "anchors.h5")


@pytest.fixture(scope="session")
def params() -> Params:
    """Parameters of the demo, made small."""
    return load_params(Path("demo"), SMALL)


@pytest.fixture(scope="session")
def reference() -> Params:
    """Parameters of the preset `reference`, for which the golden files hold."""
    return load_params(Path("reference"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden files, FRCNN_GOLDEN or one beside the checkout; without it the test is skipped."""
    folder = Path(os.environ.get("FRCNN_GOLDEN") or ROOT.parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder}; FRCNN_GOLDEN names their folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs TensorFlow where it is not installed."""
    absent = importlib.util.find_spec("tensorflow") is None
    for item in items:
        if absent and item.get_closest_marker("tensorflow"):
            item.add_marker(pytest.mark.skip(reason="needs pip install '.[tensorflow]'"))
