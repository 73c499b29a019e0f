"""A dataset in VOC layout: Annotations/ID.xml, JPEGImages/ID.EXT, ImageSets/Main/SPLIT.txt, classes.txt."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.annotation import Annotation, parse_annotation, parse_xml, read_class_name
from frcnn.data.voc.image_list import is_flagged, read_ids, read_lines
from frcnn.data.voc.inside import bad_name, is_hidden, read_text, require_plain, walk
from frcnn.data.voc.problems import Problem, problem_to_error
from frcnn.errors import UserError

EXTENSIONS = (  # of several the first is taken
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jfif", ".jpe", ".mpo", ".apng", ".avif",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".dib",
)  # fmt: skip
SETS = "ImageSets/Main"
# In the official order, which is also the alphabetical one.
VOC_CLASSES = [  # fmt: skip
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


class VocDataset:
    """A folder in VOC layout; class names, pictures and splits are read when they are first asked for, and once."""

    def __init__(self, root: Path) -> None:
        """Name the folder; nothing is read."""
        self.root = Path(root)
        self._splits: dict[str, list[tuple[int, str]]] = {}

    @cached_property
    def class_names(self) -> list[str]:
        """The classes of classes.txt in order, without background; label 1 is the first.

        Raises:
            UserError: as `read_names`.
        """
        path = self.root / "classes.txt"
        require_plain(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file; run `frcnn download` first")
        return read_names(path)

    @cached_property
    def pictures(self) -> dict[str, list[Path]]:
        """The pictures below JPEGImages by image id; several of one id in the order of `EXTENSIONS`."""
        return self._by_id("JPEGImages", *EXTENSIONS)

    def annotation_path(self, image_id: str) -> Path:
        """Return the annotation of an image, ID.xml or ID.XML, whether it is there or not."""
        return self._annotations.get(image_id, [self.root / "Annotations" / f"{image_id}.xml"])[-1]

    @cached_property
    def split_names(self) -> list[str]:
        """The splits in ImageSets/Main, sorted, without VOC's per-class lists such as cat_train.txt."""
        return sorted(name for name in self._lists if not self._is_per_class(name))

    def split_path(self, split: str) -> Path:
        """Return the file that lists the ids of a split, whether it is there or not."""
        return self._lists.get(split, self.root / SETS / f"{split}.txt")

    def split_lines(self, split: str) -> list[tuple[int, str]]:
        """Return (line number, image id) for every line of a split that is not blank.

        Raises:
            UserError: no such split, no text, or as `read_ids`.
        """
        if split not in self._splits:
            self._splits[split] = self._read_split_lines(split)
        return self._splits[split]

    def split(self, split: str) -> list[str]:
        """Return the image ids of a split in file order, without the second of a duplicate.

        Raises:
            UserError: no such split, or one without ids.
        """
        ids = list(dict.fromkeys(image_id for _, image_id in self.split_lines(split)))
        if not ids:
            raise problem_to_error(empty_split(split), self.root)
        return ids

    def require_splits(self) -> None:
        """Check that there is at least one split.

        Raises:
            UserError: there is none.
        """
        if not self.split_names:
            raise UserError(
                f"{self.root}/{SETS}: no image sets; write trainval.txt and test.txt there, one picture's name "
                "without extension per line, or let `frcnn download` draw them"
            )

    def pictures_of(self, image_ids: Iterable[str]) -> list[Path]:
        """Return the picture of each image.

        Raises:
            UserError: an image has none, or one that is no plain file of the dataset.
        """
        for image_id in image_ids:
            if image_id not in self.pictures:
                raise UserError(
                    f"{self.root}/JPEGImages: no picture of {image_id}; `frcnn check` lists everything that is missing"
                )
            require_plain(self.pictures[image_id][0])
        return [self.pictures[image_id][0] for image_id in image_ids]

    def annotation(
        self, image_id: str, labels: dict[str, int], box_convention: str
    ) -> tuple[Annotation | None, list[Problem]]:
        """Read one annotation with everything that is wrong with it; None if any of it is to be refused.

        Args:
            labels: class name -> label 1..C.
        """
        paths = (self.annotation_path(image_id), self.pictures.get(image_id, []))
        return parse_annotation(self.root, image_id, paths, labels, box_convention)

    def annotations(self, split: str, box_convention: str, workers: int = 1) -> list[Annotation]:
        """Read the annotations of a split, in its order, by `workers` threads.

        Objects without extent are left out and boxes clipped, as `frcnn check` lists.

        Raises:
            UserError: the first problem that training refuses.
        """
        read = partial(self._annotation_or_raise, self.labels, box_convention)
        ids = self.split(split)
        if workers <= 1 or not self.pictures:  # read before the threads begin
            return [read(image_id) for image_id in ids]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(read, ids))

    @property
    def labels(self) -> dict[str, int]:
        """The label, 1..C, of each class name."""
        return {name: label for label, name in enumerate(self.class_names, 1)}

    def annotated_class_names(self, image_ids: Iterable[str]) -> list[str]:
        """Return the sorted class names in these images' annotations; files that cannot be read are skipped."""
        names = set()
        for image_id in image_ids:
            root = parse_xml(self.root, self.annotation_path(image_id), [])
            if root is not None:
                names |= {read_class_name(element) for element in root.iter("object")}
        return sorted(names - {""})

    def split_sha256(self, split: str, annotations: Sequence[Annotation] = ()) -> str:
        """Return the SHA-256 over the ids and pictures of a split, in its order, and over the objects of annotations.

        The same objects have the same digest, whatever layout they came in.
        """
        digest = hashlib.sha256()
        for image_id in self.split(split):
            digest.update(f"{image_id}\n".encode())
            for path in self.pictures.get(image_id, [])[:1]:
                require_plain(path)
                content = path.read_bytes()
                digest.update(f"{len(content)}\n".encode() + content)
        for each in annotations:
            digest.update(f"{len(each.labels)}\n".encode())
            for array in (each.boxes, each.labels, each.difficult):
                digest.update(array.tobytes())
        return digest.hexdigest()

    @cached_property
    def _annotations(self) -> dict[str, list[Path]]:
        return self._by_id("Annotations", ".xml")

    def _by_id(self, folder: str, *suffixes: str) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for parent, _, names in walk(self.root / folder):
            above = parent.relative_to(self.root / folder)
            for path in (parent / name for name in names):
                if path.suffix.lower() in suffixes and path.exists():
                    found.setdefault((above / path.stem).as_posix(), []).append(path)
        for paths in found.values():
            paths.sort(key=lambda path: suffixes.index(path.suffix.lower()))
        return found

    @cached_property
    def _lists(self) -> dict[str, Path]:
        found = (path for path in (self.root / SETS).glob("*") if path.suffix.lower() == ".txt")
        paths = sorted(found, key=Path.as_posix)  # paths of Windows sort without regard to case
        return {path.stem: path for path in paths if not is_hidden(path.name)}

    def _read_split_lines(self, split: str) -> list[tuple[int, str]]:
        path = self._lists.get(split)
        if path is None:
            known = ", ".join(self.split_names)
            hint = f"splits of this dataset: {known}" if known else "run `frcnn download` first"
            raise UserError(f"{self.split_path(split)}: no such split; {hint}")
        try:
            return read_ids(path, self.pictures.keys() | self._annotations.keys(), (*EXTENSIONS, ".xml"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; mend or remove it") from error

    def _is_per_class(self, name: str) -> bool:
        """Tell whether a list is CLASS_SPLIT beside SPLIT, with a flag after every id."""
        return any(name.endswith(f"_{other}") for other in self._lists) and is_flagged(read_lines(self._lists[name]))

    def _annotation_or_raise(self, labels: dict[str, int], box_convention: str, image_id: str) -> Annotation:
        annotation, problems = self.annotation(image_id, labels, box_convention)
        if annotation is None:
            raise problem_to_error(next(problem for problem in problems if problem.action == "refuse"), self.root)
        return annotation


def read_names(path: Path) -> list[str]:
    """Return the class names of a text file in order, one per line.

    Raises:
        UserError: no such file, no text, an empty one, a name twice, or one that is too long or has control characters.
    """
    try:
        names = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    except OSError as error:
        raise UserError(f"{path}: not a readable text file ({error.strerror}); write one name per line") from error
    if bad := next(filter(None, map(bad_name, names)), None):
        raise UserError(f"{path}: class {bad}; rename it")
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise UserError(f"{path}: {f'{twice[0]} is listed twice' if twice else 'empty'}; write one class name per line")
    return names


def empty_split(split: str) -> Problem:
    """Return the problem of a split without ids."""
    return Problem(f"{SETS}/{split}.txt", "", "lists no image", kinds.NO_SPLIT)
