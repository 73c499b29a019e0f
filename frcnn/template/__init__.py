"""A project of one's own: the pipeline without the code of this repository, parameters, and what DVC and Git need."""

import hashlib
from pathlib import Path

import frcnn
from frcnn.files import write_text

SCHEMA, VERSION = "params.schema.json", "frcnn-version.txt"  # the stages depend on this one, not on the code
SOURCE = "${download.source}"  # a dependency that DVC reads from params.yaml
WITHOUT_GIT = "    no_scm = true\n"
DVC_CONFIG = "[core]\n{}    analytics = false\n    check_update = false\n"
DVC_GITIGNORE = "/config.local\n/tmp\n/cache\n"
DVCIGNORE = "__pycache__\n*.pyc\n*.tmp\n"
GITIGNORE = (
    "/data/", "/metrics/*.png", "/checkpoints/", "/predictions/", "/dvc_plots/", ".*.lock", ".frcnn-run.json",
)  # fmt: skip


def project_file(name: str) -> Path:
    """Return a file of the project, such as dvc.yaml: of the installed package, or else of the checkout."""
    package = Path(frcnn.__file__).parent
    installed = package / "project" / name
    return installed if installed.is_file() else package.parent / name


def write_project(folder: Path, parameters: str, code: Path, git: bool = False, watch_source: bool = False) -> None:
    """Write a project; files that are there stay, but .gitignore gets more lines, and `renew` writes its own.

    Args:
        folder: where to write; created.
        parameters: text of params.yaml.
        code: folder of the command line, which the version covers.
        git: whether DVC finds a Git repository here; else it is told to do without.
        watch_source: whether `download.source` is a path, so that DVC notices what changes there.
    """
    files = {
        "params.yaml": parameters,
        ".dvc/config": DVC_CONFIG.format("" if git else WITHOUT_GIT),
        ".dvc/.gitignore": DVC_GITIGNORE,
        ".dvcignore": DVCIGNORE,
        "README.md": Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        if not (folder / name).exists():
            write_text(folder / name, text)
    ignored = folder / ".gitignore"
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.exists() else []
    write_text(ignored, "".join(f"{line}\n" for line in [*lines, *(line for line in GITIGNORE if line not in lines)]))
    renew(folder, code, watch_source)


def renew(folder: Path, code: Path, watch_source: bool) -> None:
    """Write those files of a project that belong to the version of frcnn; arguments as of `write_project`."""
    pipeline = project_file("dvc.yaml").read_text(encoding="utf-8")
    write_text(folder / "dvc.yaml", pipeline_without_code(pipeline, watch_source))
    write_text(folder / SCHEMA, project_file(SCHEMA).read_text(encoding="utf-8"))
    write_text(folder / VERSION, _version(code))


def pipeline_without_code(text: str, watch_source: bool = False) -> str:
    """Return dvc.yaml with one dependency on the version in place of those on the code."""
    lines = ["# The pipeline of frcnn, whose stages depend on its version. `frcnn init .` renews this file.\n"]
    for line in text.splitlines(keepends=True):
        if not line.startswith("#") and not line.strip().startswith(("- frcnn/", "- stages/")):
            lines.append(line)
        if line.strip() == "deps:":
            lines.append(f"      - {VERSION}\n")
            if watch_source:  # of the first stage, `download`, alone
                lines.append(f"      - {SOURCE}\n")
                watch_source = False
    return "".join(lines)


def watches_source(folder: Path) -> bool:
    """Tell whether the pipeline of a project depends on its source."""
    return SOURCE in (folder / "dvc.yaml").read_text(encoding="utf-8")


def _version(code: Path) -> str:
    """Return the version, and a digest of the code, so that an edit in a checkout reruns the stages."""
    digest = hashlib.sha256()
    for root in (Path(frcnn.__file__).parent, code):  # one in the other where installed
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"frcnn {frcnn.__version__}, SHA-256 of its code {digest.hexdigest()}\n"
