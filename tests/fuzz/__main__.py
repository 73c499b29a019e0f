"""Damage files of every format and run the commands that read them; count the verdicts.

FRCNN_FUZZ: how many mutants (2000). With an argument only mutants so named, kept to look at:
`python -m tests.fuzz "xml 12"`.
"""

import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.crash.forked import Ended, differences, import_all, run, tree
from tests.fuzz.formats import FORMATS, Format, make_base
from tests.fuzz.mutate import EXTREMES, mutate
from tests.fuzz.outputs import wrong_output

SECONDS, MEMORY = 60, 4 << 30
GOOD = ("right", "refused")
MAY_STAY = re.compile(r"left over cache/|/lock|\.lock")
LIBTIFF = re.compile(r"(LZWDecode|tempfile\.tif): ")  # lines that this C library prints by itself


def main() -> None:
    """Run, print a table, exit 1 if any verdict was bad."""
    start, one = time.monotonic(), sys.argv[1] if sys.argv[1:] else None
    import_all()
    counts: dict[str, Counter[str]] = {each.name: Counter() for each in FORMATS}
    folder = Path(tempfile.mkdtemp(prefix="frcnn-fuzz-"))
    try:
        base = make_base(folder)
        for each in FORMATS:
            _require_accepted(each, base)
        before = tree(base)
        for number, each in _plan(int(os.environ.get("FRCNN_FUZZ", "2000"))):
            if one in (None, each.name, f"{each.name} {number}"):
                counts[each.name][_try(each, number, base, before, one is not None)] += 1
        assert tree(base) == before, "a command wrote into a file instead of replacing it"
    finally:
        shutil.rmtree(folder)
    _print_table(counts, time.monotonic() - start)
    raise SystemExit(any(verdict not in GOOD for each in counts.values() for verdict in each))


def _plan(total: int) -> Iterator[tuple[int, Format]]:
    """Yield the formats in turn, each with the number of its mutant, in proportion to their shares."""
    whole, done = sum(each.share for each in FORMATS), dict.fromkeys(FORMATS, 0)
    for count in range(1, total + 1):
        each = max(FORMATS, key=lambda item: count * item.share / whole - done[item])
        done[each] += 1
        yield done[each], each


def _try(each: Format, number: int, base: Path, before: dict[str, str], keep: bool) -> str:
    """Return the verdict on one mutant; print what is bad."""
    draw = random.Random(f"{each.name} {number}")
    folder = shutil.copytree(base, base.parent / "run", copy_function=os.link)
    arguments = list(draw.choice(each.commands))
    if each.path:
        target = folder / each.path
        content = mutate(target.read_bytes(), each.text, draw)
        target.unlink()
        target.write_bytes(content)
    else:
        arguments += ["-S", _setting(base, draw)]
    start = tree(folder)
    ended = run(arguments, folder, seconds=SECONDS, memory=MEMORY)
    verdict, why = _judge(each, ended, arguments, folder, start, before)
    if verdict not in GOOD or keep:
        printed = " | ".join(ended.err.strip().splitlines()[-3:])[-600:]
        print(f"{each.name} {number}: {verdict}: {' '.join(arguments)}: {why} {printed!r}", flush=True)
    if keep:
        folder.rename(tempfile.mkdtemp(prefix=f"mutant-{each.name.replace(' ', '-')}-{number}-"))
    else:
        shutil.rmtree(folder)
    return verdict


def _require_accepted(each: Format, base: Path) -> None:
    """Require that the good file is read, or nothing would follow from refused ones."""
    folder = shutil.copytree(base, base.parent / "good", copy_function=os.link)
    for arguments in each.commands:
        ended = run(list(arguments), folder, seconds=SECONDS, memory=MEMORY)
        assert ended.code == 0, (each.name, ended)
    shutil.rmtree(folder)


def _setting(base: Path, draw: random.Random) -> str:
    """Return a text for --set: a known key with an extreme value, or one with damaged letters."""
    leaves, stack = [], [("", yaml.safe_load((base / "params.yaml").read_text()))]
    while stack:
        path, value = stack.pop()
        leaves += [f"{path}={value}"] if not isinstance(value, dict) else []
        stack += [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()] if isinstance(value, dict) else []
    text = draw.choice(sorted(leaves)).encode()
    key = text.partition(b"=")[0]
    text = mutate(text, True, draw) if draw.random() < 0.5 else key + b"=" + draw.choice(EXTREMES)
    return os.fsdecode(text.replace(b"\0", b""))  # no argument of a program holds one


def _judge(
    each: Format,
    ended: Ended,
    arguments: list[str],
    folder: Path,
    start: dict[str, str],
    before: dict[str, str],
) -> tuple[str, str]:
    """Return a verdict, which is bad unless it is one of GOOD, and why."""
    if ended.code is None:
        return "hangs", f"{SECONDS} s"
    for text in ("Traceback", "internal error"):
        if text in ended.err:
            return text, ""
    if ended.code not in ((0, 1, 2) if arguments[0] == "check" else (0, 2)):
        return f"exit {ended.code}", ""
    if any(character < " " and character not in "\n\t" or character == "\x7f" for character in ended.err + ended.out):
        return "control characters", "in what is printed"
    left = tree(folder)
    if any(".tmp" in name for name in left):
        return "leftover", ""
    if ended.code == 2:
        changed = [text for text in differences(left, start) if not MAY_STAY.search(text)]
        lines = [line for line in ended.err.strip().splitlines() if not LIBTIFF.match(line)]
        if not lines or not all(line.startswith("error: ") for line in lines):
            return "unclear", "not only lines of errors"
        return ("changed", "; ".join(changed[:3])) if changed else ("refused", "")
    why = wrong_output(each, arguments, folder, ended, before)
    return ("wrong", why) if why else ("right", "")


def _print_table(counts: dict[str, Counter[str]], seconds: float) -> None:
    verdicts = [*GOOD, *sorted({verdict for each in counts.values() for verdict in each} - set(GOOD))]
    print("\n" + f"{'format':<16}" + "".join(f"{verdict:>{len(verdict) + 3}}" for verdict in ("mutants", *verdicts)))
    for name, found in [*counts.items(), ("all", sum(counts.values(), Counter[str]()))]:
        numbers = {"mutants": found.total()} | {verdict: found[verdict] for verdict in verdicts}
        print(f"{name:<16}" + "".join(f"{number:>{len(verdict) + 3}}" for verdict, number in numbers.items()))
    print(f"in {seconds:.0f} s")


if __name__ == "__main__":
    main()
