"""Draw a test split: stratified by class, and with the frames of a video, copies and look-alikes on one side.

It is the iterative stratification of Sechidis et al. (ECML PKDD 2011) for groups of pictures. scikit-multilearn and
iterative-stratification know no groups, scikit-learn's StratifiedGroupKFold no pictures of several classes.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

NUMBER = re.compile(r"[\W_]*[0-9]+[\W_]*$")
COPY = re.compile(r"(_(jpe?g|png|bmp|webp))?\.rf\.[0-9A-Za-z]+$")  # Roboflow's copies of one picture


def group_names(stems: Sequence[str], classes: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """Return a name for each picture, equal for frames of one video, and the names that are none after all.

    A video is what has one name before a trailing number, if it is no larger than the test split should be and the
    name is not that of a class, as in apple_12. Roboflow's copies of one picture are always kept together.
    """
    pictures = [COPY.sub("", stem) for stem in stems]
    videos = [NUMBER.sub("", picture) for picture in pictures]
    words = {_plain(name) for name in classes} | {""}
    large = {name for name, count in Counter(videos).items() if count > max(1, share * len(stems))}
    large |= {name for name in videos if _plain(name) in words}
    names = [picture if video in large else f"{video}/" for picture, video in zip(pictures, videos, strict=True)]
    return names, sorted(large)


def join_groups(names: Sequence[str], looks: Sequence[int]) -> list[str]:
    """Return for each picture the name of its group: with those of its name or its look, also by a detour."""
    joined = np.arange(len(names))
    keys = [np.unique(np.array(each), return_inverse=True)[1] for each in (names, looks)]
    before = joined - 1
    while (before != joined).any():
        before = joined
        for key in keys:
            least = np.full(len(names), len(names))
            np.minimum.at(least, key, joined)
            joined = least[key]
    return [names[index] for index in joined.tolist()]


def draw_test(groups: Sequence[str], shown: Sequence[frozenset[str]], share: float, seed: int) -> list[bool]:
    """Return for each picture whether it is in the test split.

    Args:
        groups: name of the group of each picture.
        shown: class names of each picture.
        share: of the pictures.
        seed: of the order in which the groups of a class are dealt out.
    """
    names, group_of = np.unique(np.array(groups), return_inverse=True)
    classes = {name: column for column, name in enumerate(sorted(frozenset[str]().union(*shown)))}
    counts = np.zeros((len(names), len(classes) + 2))  # of pictures: with each class, with none, all
    for group, of_picture in zip(group_of, shown, strict=True):
        columns = [classes[name] for name in of_picture] or [len(classes)]
        counts[group, [*columns, -1]] += 1
    wanted = np.outer([1 - share, share], counts.sum(0))  # (side, class): training, test
    side = np.full(len(names), -1)
    order = np.random.default_rng(seed).permutation(len(names))
    while (side < 0).any():
        left = counts[side < 0, :-1].sum(0)
        rarest = int(np.where(left > 0, left, np.inf).argmin())
        for group in order[(side[order] < 0) & (counts[order, rarest] > 0)]:
            need = [(wanted[each, rarest], wanted[each, -1]) for each in (0, 1)]
            side[group] = int(need[1] > need[0])
            wanted[side[group]] -= counts[group]
    if len(names) > 1 and (side == side[0]).all():  # too few for the share
        side[counts[:, -1].argmin()] = 1 - side[0]
    return [bool(side[group]) for group in group_of]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
