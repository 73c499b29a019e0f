"""Kill every stage at every operation on the file system, and whole pipelines at random times; count what went wrong.

FRCNN_CRASH_POINTS: all (default), or how many points, drawn by a seed. FRCNN_CRASH_KILLS: kills of pipelines (40).
With an argument, only the points whose name contains it: `python -m tests.crash "train 1, SIGKILL at 7"`.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import chains
from tests.crash.forked import import_all
from tests.crash.points import all_points, bench, point_name, written_in_place

SEED = 20


def main() -> None:
    """Run, print, exit 1 if anything went wrong."""
    wanted, start = os.environ.get("FRCNN_CRASH_POINTS", "all"), time.monotonic()
    import_all()
    with tempfile.TemporaryDirectory(prefix="frcnn-crash-") as folder, bench(Path(folder)) as each:
        points = all_points(each)
        if wanted != "all":
            points = random.Random(SEED).sample(points, min(int(wanted), len(points)))
        if sys.argv[1:]:
            points = [point for point in points if f"{sys.argv[1]} " in f"{point_name(*point)} "]
        failed: dict[str, int] = {}
        tried: dict[str, int] = {}
        for point in points:
            wrong = each.kill(*point)
            print("".join(f"{text}\n" for text in wrong), end="", flush=True)
            name = point[0].name
            tried[name], failed[name] = tried.get(name, 0) + 1, failed.get(name, 0) + bool(wrong)
        in_place = {name: written_in_place(events) for name, events in each.events.items()}
    print(f"\n{'stage':<20}{'kills':>6}{'wrong':>6}")
    for name, count in tried.items():
        print(f"{name:<20}{count:>6}{failed[name]:>6}")
    print(f"{'all':<20}{sum(tried.values()):>6}{sum(failed.values()):>6}  in {time.monotonic() - start:.0f} s")
    for name, paths in in_place.items():
        print("".join(f"{name}: {path} is written under its final name\n" for path in paths), end="")
    bad = any(failed.values()) or any(in_place.values())
    kills = 0 if sys.argv[1:] else int(os.environ.get("FRCNN_CRASH_KILLS", "40"))
    if kills:
        bad = not chains.run_all(kills, SEED) or bad
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
