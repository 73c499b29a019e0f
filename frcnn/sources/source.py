"""What the parameter download.source may say, resolved to files to fetch or paths on this machine."""

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from frcnn.data.voc.dataset import EXTENSIONS
from frcnn.errors import UserError
from frcnn.fetching.published import VOC, Published
from frcnn.files import project_path

KNOWN = "voc2007, voc2012, voc2007+voc2012, synthetic, a folder, an archive, or an http(s) address of an archive"


def is_voc(source: str) -> bool:
    """Tell whether a source is one or several years of PASCAL VOC, as "voc2007+voc2012"."""
    return set(source.split("+")) <= set(VOC)


def resolve(source: str, mirror: str | None, sha256: dict[str, str]) -> list[Published] | Path:
    """Return the archives to fetch, or the folder or archive on this machine.

    Args:
        source: years of VOC, an address, or a path relative to the project.
        mirror: base address asked before VOC's official ones.
        sha256: archive name -> expected SHA-256, before the published one.

    Raises:
        UserError: a name that is not known and a path that is not there.
    """
    if is_voc(source):
        archives = [archive for year in source.split("+") for archive in VOC[year]]
        first = [mirror.rstrip("/")] if mirror else []
        return [
            Published(a.name, (*(f"{base}/{a.name}" for base in first), *a.urls), sha256.get(a.name, a.sha256))
            for a in archives
        ]
    if source.startswith(("http://", "https://")):
        name = unquote(urlsplit(source).path).rpartition("/")[2] or "archive"
        # equally named archives of two addresses must not meet in the cache
        prefix = hashlib.sha256(source.encode()).hexdigest()[:12]
        plain = re.sub(r"[^\w.+-]", "_", name)  # Windows has names that lead elsewhere
        return [Published(f"{prefix}-{plain}", (source,), sha256.get(name))]
    path = project_path(source)
    if not path.exists():
        raise UserError(f"download.source: {source} is neither a path that exists nor a known name; write {KNOWN}")
    if path.is_file() and path.suffix.lower() in (*EXTENSIONS, ".xml", ".json", ".yaml", ".yml"):
        raise UserError(f"download.source: {source} is one file of a dataset; name the folder that holds it all")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"download.source: {source} is neither a folder nor a plain file; name a dataset")
    return path
