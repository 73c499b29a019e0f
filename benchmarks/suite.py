"""The parts of the benchmark, in the order in which they run."""

from collections.abc import Callable

from benchmarks import network, surroundings
from benchmarks.setup import Setup, Tables

# The network first: what runs before would count in the process's peak memory.
PARTS: dict[str, Callable[[Setup], Tables]] = {
    "detection": network.detection,
    "training": network.training,
    "loading": surroundings.loading,
    "anchors": surroundings.anchors,
    "evaluation": surroundings.evaluation,
    "startup": surroundings.startup,
}
