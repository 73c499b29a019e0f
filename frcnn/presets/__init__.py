"""The parameter file with comments, as defaults or as of a preset."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

import yaml

from frcnn.errors import UserError
from frcnn.params import PRESETS


def commented_params(preset: str, changes: Mapping[str, Any] | None = None, title: str = "") -> str:
    """Return the text of params.yaml, every key with its comment, with the values of a preset.

    Args:
        preset: default (params.yaml as it is in the repository), demo, finetune or reference.
        changes: further values, as nested dictionaries.
        title: first comment, in place of the preset's.

    Raises:
        UserError: no such preset.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Write null instead of nothing."""

    Representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if preset not in names:
        raise UserError(f"{preset}: no such preset; choose from {', '.join(names)}")
    text, default = ((PRESETS / f"{name}.yaml").read_text(encoding="utf-8") for name in (preset, "default"))
    editor = YAML()
    editor.Representer, editor.width = Representer, 1000
    tree = editor.load(
        _with_title(title or text.partition("\n\n")[0], default) if title or preset != "default" else default
    )
    _put(tree, yaml.safe_load(text))
    _put(tree, changes or {})
    out = StringIO()
    editor.dump(tree, out)
    return out.getvalue()


def _with_title(title: str, default: str) -> str:
    """Return the commented defaults with another first comment, and without what calls them defaults."""
    schema, _, every, _, rest = default.split("\n", 4)
    return "\n".join([schema, title, every, rest])


def _put(tree: Any, values: Mapping[str, Any]) -> None:
    """Put values into a tree whose comments stay."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            _put(tree[key], value)
        elif isinstance(value, list) and isinstance(tree[key], list):
            tree[key][:] = value
        else:
            tree[key] = value
