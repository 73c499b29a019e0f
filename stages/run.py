"""`frcnn run`: run the stages of a project that are out of date, without DVC or Git."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from frcnn.errors import UserError

from .init import renew_project
from .terminal.console import say
from .terminal.stage_process import print_results, run_stage

LOCK = Path(".frcnn-run.lock")


def run(
    stage: Annotated[str | None, typer.Argument(help="Run this stage and what it needs; default: all.")] = None,
) -> None:
    """Read dvc.yaml and params.yaml, run what is out of date, and write what these stages write."""
    from frcnn.files import locked
    from frcnn.params import load_params
    from frcnn.pipeline import before, keep_state, read_stages, read_state, require_project, state_of
    from frcnn.template import VERSION

    require_project()
    if Path(VERSION).exists():
        renew_project(Path())
    stages = before(read_stages(load_params(Path("params.yaml"))), stage)
    seconds = {}
    with locked(LOCK, wait=False) as alone:
        if not alone:
            raise UserError("another `frcnn run` is at work here; wait for it or stop it")
        for each in stages:
            state = read_state()
            if state_of(each) == state.get(each.name):
                say(f"{each.name}: up to date")
                continue
            say(f"{each.name}: {each.command}")
            keep_state({name: kept for name, kept in state.items() if name != each.name})
            seconds[each.name] = run_stage(each.name, shlex.split(each.command), "frcnn run")
            keep_state(read_state() | {each.name: state_of(each)})
    if stage is None and seconds:
        print_results(seconds)
