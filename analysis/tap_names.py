"""What the modules of a model, and their calls in one forward, are named (DESIGN 3); :mod:`analysis.taps` hooks them.

A name is that of a tap (``scale.weights``), the dotted path of a submodule (``backbone.layer4``), or a wildcard over
taps or, where no tap fits, over paths. A module that is called several times in one forward has a name for each call:
``path@0``, ``path@1``. A model with ``call_names = {"backbone": ("x100", "x75")}`` calls that submodule once for each
of these labels, so for it and all under it the names are ``path@x100``, ``path@x75``, and ``path@x75@0``,
``path@x75@1`` where such a call uses a module again. The bare path is an error wherever there are several calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from analysis.errors import AnalysisError, closest
from analysis.models.tap import Tap


@dataclass(eq=False)
class Root:
    """A submodule that is called once for each of ``labels``, in turn, and the number of its calls so far."""

    path: str
    module: nn.Module
    labels: tuple[str, ...]
    count: int = 0

    def enter(self, *_: object) -> None:
        """Count a call; a forward pre-hook."""
        self.count += 1


@dataclass(eq=False)
class Target:
    """A module under the name by which it was asked for, and its calls in the current forward."""

    name: str
    module: nn.Module
    root: Root | None
    calls: list[Call] = field(default_factory=list)

    def called(self) -> Call:
        """Note that the module was called, and say which call that was."""
        root, n = self.root, len(self.calls)
        label = root.labels[(root.count - 1) % len(root.labels)] if root else str(n)
        self.calls.append(Call(self, label, sum(call.label == label for call in self.calls)))
        return self.calls[-1]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a target: its label, empty outside a forward of the model, and its index among those so labelled."""

    target: Target
    label: str = ""
    index: int = 0

    def name(self, label: bool = False) -> str:
        """The shortest name that is valid for this call, or the shortest with a label."""
        target = self.target
        if not label and len(target.calls) == 1 and (target.root is None or len(target.root.labels) == 1):
            return target.name
        again = sum(call.label == self.label for call in target.calls) > 1
        return f"{target.name}@{self.label}@{self.index}" if again else f"{target.name}@{self.label}"


@dataclass(frozen=True)
class Request:
    """A name as it was given: the modules it can mean, and the label of their calls (empty for any)."""

    text: str
    label: str
    wild: bool
    targets: tuple[Target, ...]

    def wants(self, call: Call) -> bool:
        """Whether it means this call."""
        if call.target not in self.targets or not self.label:
            return call.target in self.targets
        if not call.label:
            raise AnalysisError(f"cannot tell which call is '{self.text}' outside a forward of the whole model")
        nth = "@" in self.label and fnmatchcase(f"{call.label}@{call.index}", self.label)
        return nth or fnmatchcase(call.label, self.label)

    def found(self) -> dict[str, Call]:
        """The calls of a finished forward that it means, by their keys."""
        calls = [call for target in self.targets for call in target.calls]
        found = [call for call in calls if self.wants(call)]
        if not found:
            there = (
                f"; its calls: {', '.join(call.name() for call in calls)}" if calls else ": the model does not call it"
            )
            raise AnalysisError(f"this forward did not reach '{self.text}'{there}")
        if self.wild:
            return {call.name(label=bool(self.label)): call for call in found}
        if len(found) > 1:
            raise _not_one_call(self.text, [call.name(label=True) for call in found])
        return {self.text: found[0]}


def _not_one_call(text: str, calls: list[str]) -> AnalysisError:
    return AnalysisError(f"'{text}' is not the name of one call; name one of {', '.join(calls)}")


class Names:
    """All that can be named in a model. A module that sits at several paths answers to each of them."""

    def __init__(self, model: nn.Module) -> None:
        # One walk of the tree: on a light network a few of them would cost a per cent of the forward.
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.paths: dict[nn.Module, str] = {}  # the first of each module
        self.taps: dict[str, list[str]] = {}
        self.roots: list[Root] = []  # an owner's before those of owners inside it
        self.targets: dict[str, Target] = {}
        for path, module in self.modules.items():
            if module not in self.paths:
                self._note(path, module)

    def _note(self, path: str, module: nn.Module) -> None:
        self.paths[module] = path
        if isinstance(module, Tap):
            self.taps.setdefault(module.name, []).append(path)
        elif "call_names" in vars(module) or hasattr(type(module), "call_names"):
            for child, labels in getattr(module, "call_names", {}).items():
                root = f"{path}.{child}" if path else child
                self.roots.append(Root(root, self.modules[root], tuple(labels)))

    def request(self, text: str) -> Request:
        """What a name means; AnalysisError with the closest names where it means nothing, or surely several calls."""
        name, _, label = text.partition("@")
        exact = name in self.taps or (name != "" and name in self.modules)
        matches = [name] if exact else self._matches(name)
        if not matches:
            known = closest(name, filter(None, [*self.taps, *self.modules])) or "; print(model) shows its modules"
            raise AnalysisError(f"no tap or module of {type(self.modules['']).__name__} is called '{text}'{known}")
        wild = not exact or any(character in label for character in "*?[")
        request = Request(text, label, wild, tuple(self._target(match) for match in matches))
        root = None if wild else request.targets[0].root
        if root and (label.partition("@")[0] not in root.labels if label else len(root.labels) > 1):
            raise _not_one_call(text, [f"{name}@{one}" for one in root.labels])
        return request

    def _matches(self, pattern: str) -> list[str]:
        taps = [name for name in self.taps if fnmatchcase(name, pattern)]
        return taps or [path for path in self.paths.values() if path and fnmatchcase(path, pattern)]

    def _target(self, name: str) -> Target:
        paths = self.taps.get(name, [name])
        if len(paths) > 1:
            raise AnalysisError(f"{len(paths)} taps are called '{name}'; name one by its path: {', '.join(paths)}")
        roots = [root for root in self.roots if f"{paths[0]}.".startswith(f"{root.path}.")]
        return self.targets.setdefault(name, Target(name, self.modules[paths[0]], roots[-1] if roots else None))
