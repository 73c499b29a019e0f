"""Other values of parameters, each with its reason."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from frcnn.data.voc.annotation import Annotation
from frcnn.param_file import contradictions
from frcnn.params import Params, from_dict, to_dict


@dataclass(frozen=True)
class Proposal:
    """A parameter by its dotted key, its value, a better one, both as in params.yaml, and why in a line."""

    key: str
    current: Any
    proposed: Any
    reason: str

    @property
    def assignment(self) -> str:
        """The value of the option --set: `data.min_size=300`."""
        return f"{self.key}={in_yaml(self.proposed)}"

    @property
    def override(self) -> str:
        """The option that sets it, quoted for a shell: `-S data.min_size=300`."""
        return f"-S {shlex.quote(self.assignment)}"


@dataclass
class Advice:
    """What is proposed so far.

    Attributes:
        params: the parameters with all proposals.
        remarks: what is not proposed, and why.
        annotations: of the training split, as these parameters read them.
        class_names: of the dataset.
    """

    params: Params
    proposals: list[Proposal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    annotations: Sequence[Annotation] = ()
    class_names: Sequence[str] = ()

    def propose(self, values: Mapping[str, Any], reason: str) -> None:
        """Propose values by dotted keys, for one reason; nothing where they are set already or contradict others."""
        tree, new = to_dict(self.params), []
        for key, value in values.items():
            *sections, name = key.split(".")
            section = tree
            for each in sections:
                section = section[each]
            if _plain(section[name]) != _plain(value):
                new.append(Proposal(key, _plain(section[name]), _plain(value), reason))
            section[name] = value
        changed = from_dict(Params, tree, "proposals")
        if new and not any(contradictions(changed)):
            self.params, self.proposals = changed, [*self.proposals, *new]


def in_yaml(value: Any) -> str:
    """Return a value as it stands in params.yaml, without blanks."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Return a value with whole numbers as integers, and with one list instead of a list of one list."""
    if isinstance(value, (list, tuple)):
        plain = [_plain(each) for each in value]
        return plain[0] if len(plain) == 1 and isinstance(plain[0], list) else plain
    return int(value) if isinstance(value, float) and value.is_integer() else value
