"""Name the content of a split by a digest, so that artifacts know what they were made from."""

import hashlib
from pathlib import Path

from frcnn.data.voc.dataset import find_pictures, read_split


def split_sha256(dataset: Path, split: str) -> str:
    """Return the SHA-256 over the ids, annotations and pictures of a split, in its order."""
    pictures = find_pictures(dataset)
    digest = hashlib.sha256()
    for image_id in read_split(dataset, split):
        digest.update(f"{image_id}\n".encode())
        for path in (dataset / "Annotations" / f"{image_id}.xml", *pictures.get(image_id, [])[:1]):
            content = path.read_bytes() if path.is_file() else b""
            digest.update(f"{len(content)}\n".encode() + content)
    return digest.hexdigest()
