"""Build the package: `stages/` is installed as `frcnn.stages`, the files of a project as `frcnn/project/`."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PROJECT_FILES = ("dvc.yaml", "params.schema.json")


class BuildWithProjectFiles(build_py):
    """Put the pipeline and the schema of its parameters into the package, where `frcnn demo` looks for them."""

    def run(self) -> None:
        """Build the modules, then copy the files; an editable installation reads them from the checkout."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "frcnn", "project")
            folder.mkdir(parents=True, exist_ok=True)
            for name in PROJECT_FILES:
                self.copy_file(name, str(folder / name))


setup(
    cmdclass={"build_py": BuildWithProjectFiles},
    package_dir={"frcnn": "frcnn", "frcnn.stages": "stages"},
    packages=[
        *find_packages(include=["frcnn", "frcnn.*"]),
        *(f"frcnn.{name}" for name in find_packages(include=["stages", "stages.*"])),
    ],
)
