"""Name the annotations of a split by a digest, so that artifacts know what they were made from."""

import hashlib
from pathlib import Path

from frcnn.data.voc import read_split


def annotations_sha256(dataset: Path, split: str) -> str:
    """Return the SHA-256 over the ids and annotation files of a split, in its order (pictures are not read)."""
    digest = hashlib.sha256()
    for image_id in read_split(dataset, split):
        path = dataset / "Annotations" / f"{image_id}.xml"
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{image_id} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
