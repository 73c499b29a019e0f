"""Parameter files made to break their reader: one line, in little time and memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.params import load_params
from tests.factories import ROOT

SECONDS, MEGABYTES = 2.0, 64
ALIASES = "download:\n  source: [&a0 [x,x,x,x,x,x,x,x,x]" + "".join(
    f", &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)
)
FILES = {
    "huge whole number": ("train_phase1: {epochs: " + "10" * 3000 + "}", "cannot be read"),
    "huge hexadecimal": ("train_phase1: {epochs: 0x" + "f" * 9000 + "}", "a number is too large"),
    "23 digits": ("train_phase1: {epochs: 10101010101010101010101}", "a number is too large"),
    "18 digits": (
        "train_phase1: {epochs: 101010101010101010}",
        "train_phase1.epochs is 101010101010101010; it must be",
    ),
    "a whole number for a float": ("train: {optimizer: {momentum: " + "9" * 400 + "}}", "a number is too large"),
    "too large for a float": ("train_phase1: {learning_rate: 1e999}", "it must be a finite number"),
    "infinity": ("train_phase1: {learning_rate: .inf}", "it must be a finite number"),
    "infinity in words": ("train_phase1: {learning_rate: Infinity}", "it must be a finite number"),
    "no number": ("anchors: {anchor_ratios: [.nan]}", "it must be a finite number"),
    "pictures beyond any disk": ("download: {synthetic: {train_images: 2000000000}}", "it must be at most 1e+06"),
    "a date for a number": ("train: {seed: 2024-02-30}", "train.seed is '2024-02-30'; it must be a whole number"),
    "an explicit date": ("download: {source: !!timestamp 2024-02-30}", "could not determine a constructor"),
    "Python": ("download: {source: !!python/object/apply:os.system [ls]}", "could not determine a constructor"),
    "binary": ("download: {source: !!binary aGFsbG8=}", "could not determine a constructor"),
    "set": ("download: {sha256: !!set {a, b}}", "could not determine a constructor"),
    "wrong truth": ("train: {deterministic: !!bool maybe}", '"maybe" cannot be read'),
    "empty number": ("train: {seed: !!int ''}", "cannot be read"),
    "list tagged as a mapping": ("train: !!map [1]", "expected a mapping node"),
    "deep flow": ("a: " + "[" * 60000, "more than 20 levels"),
    "deep mappings": ("{a: " * 10000, "more than 20 levels"),
    "deep blocks": ("- " * 30000, "more than 20 levels"),
    "aliases": (ALIASES + "]", "more than 10 aliases"),
    "an alias of itself": ("model: &m {backbone: *m}", "model.backbone is "),
    "a merge of itself": ("model: &m {<<: *m, width: 1}", "model.width is 1; it must be at least 16"),
    "many values": ("a: [" + "1," * 30000 + "]", "more than 10000 values"),
    "many unknown keys": ("".join(f"k{i}: 1\n" for i in range(4000)), "unknown parameter k0"),
    "long": ("a: " + "x" * 100_000, "longer than 65536 bytes"),
    "long value": ("model: {backbone: " + "x" * 60_000 + "}", "xxx...; choose from"),
    "long key": ("? " + "x" * 60_000 + "\n: 1", "unknown parameter xxx"),
    "NUL": ("download: {source: a\0b}", "not allowed"),
    "escaped NUL": ('splits: {train: "a\\0b"}', "has control characters"),
    "escape sequence": ('download: {source: "\\e[2J"}', "has control characters"),
    "line break": ('splits: {train: "a\\nb"}', "has control characters"),
    "a key twice": ("train: {seed: 1, seed: 2}", 'key "seed" occurs twice'),
    "a section twice": ("train: {seed: 1}\ndata: {}\ntrain: {seed: 2}", 'key "train" occurs twice'),
    "numbers as keys": ("download: {sha256: {1: a}}", "a key is not text"),
    "a list as a key": ("? [a]\n: 1", "a key is not text"),
    "truth as a key": ("yes: 1", "a key is not text"),
    "two documents": ("train: {}\n---\ntrain: {}", "but found another document"),
    "UTF-16": ("train: {}".encode("utf-16"), "not a text file in UTF-8"),
    "Latin-1": ("download: {source: café}".encode("latin-1"), "not a text file in UTF-8"),
}


@pytest.mark.parametrize("name", FILES)
def test_one_line(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    content, message = FILES[name]
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert time.monotonic() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024
    first, *rest = caught.value.args
    assert message in first
    assert all(len(line) < 600 and "\n" not in line for line in caught.value.args)
    assert len(rest) <= 30 and all(line.startswith(str(path)) for line in (first, *rest))


@pytest.mark.parametrize(
    "text",
    [
        "train_phase1.epochs=" + "9" * 5000,
        "download.source=" + "[" * 5000,
        "download.classes=[&a [x], " + "*a," * 20 + "]",
        "splits.train=\udcff",
        "splits.train=a\x1bb",
        "download.source=!!python/name:os.system x",
        "model.backbone=" + "x" * 100_000,
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_an_override(text: str) -> None:
    with pytest.raises(UserError) as caught:
        load_params(Path("demo"), [text])
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def test_what_is_allowed(tmp_path: Path) -> None:
    """A date is a name like any other; an alias, a byte order mark and an open range are fine."""
    path = tmp_path / "params.yaml"
    path.write_text(
        "\ufefftrain: {seed: &s 3}\nrender: {seed: *s}\ndownload: {source: 2024-02-30, classes: [כלב, é]}\n"
    )
    params = load_params(path)
    assert (params.render.seed, params.download.source, params.download.classes) == (3, "2024-02-30", ("כלב", "é"))


def test_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(ALIASES + "]")
    command = [sys.executable, "-m", "stages.cli", "download"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: params.yaml: line 2: not valid YAML: more than 10 aliases\n"
