"""Which packages a bundle needs: all that sartorius asks for and the target has not."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from sartorius.bundle.target import Target
from sartorius.errors import UserError

ROOT = "sartorius[detectron]"
#: Asked for by a package that never imports it: black formats detectron2's own source.
NOT_NEEDED = {"pb1-detectron2": {"black"}}


class Closure(NamedTuple):
    """What goes into the bundle, by name, and which versions of what the target has are counted on."""

    packed: tuple[Distribution, ...]
    counted_on: dict[str, str]


def needed(target: Target) -> Closure:
    """The packages, as installed here, that the target lacks of sartorius and all it stands on.

    Raises UserError listing packages that the target has in a version that is not accepted, since another one could
    break what is compiled against it there; and those that are not installed here or not for the target's Python.
    """
    packed: dict[str, Distribution] = {}
    counted_on: dict[str, SpecifierSet] = {}
    problems: list[str] = []
    waiting = [("", Requirement(ROOT))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        by, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in target.has:
            counted_on[name] = counted_on.get(name, SpecifierSet()) & requirement.specifier
            if not requirement.specifier.contains(target.has[name], prereleases=True):
                problems.append(f"{by} asks for {requirement}, but there is {name} {target.has[name]}")
            continue
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found = _installed(name)
        if found is None:
            problems.append(f"{by} asks for {requirement}, which is neither there nor installed here")
            continue
        packed[name] = found
        if not SpecifierSet(str(found.metadata.json.get("requires_python", ""))).contains(
            f"{target.python}.0"
        ):
            problems.append(f"{name} {found.version} is not for Python {target.python}")
        waiting += [(name, below) for below in _requirements(found, requirement.extras, target)]
    if problems:
        listed = "\n".join(sorted(set(problems)))
        raise UserError(
            f"the bundle would not work on Python {target.python} with the packages of --image:\n{listed}"
        )
    specifiers = {name: str(counted_on[name]) for name in sorted(counted_on)}
    return Closure(tuple(packed[name] for name in sorted(packed)), specifiers)


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _requirements(found: Distribution, extras: set[str], target: Target) -> list[Requirement]:
    """What a package asks for on the target, with these extras."""
    name = canonicalize_name(found.metadata["Name"])
    asked = [Requirement(text) for text in found.requires or []]
    return [
        requirement
        for requirement in asked
        if canonicalize_name(requirement.name) not in NOT_NEEDED.get(name, ())
        and (
            requirement.marker is None
            or any(
                requirement.marker.evaluate({**target.markers, "extra": extra}) for extra in extras or {""}
            )
        )
    ]
