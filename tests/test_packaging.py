"""The versions that are installed: one resolution, written in two places, inside the bounds of setup.cfg."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sartorius

PROJECT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
SETUP = configparser.ConfigParser()
SETUP.read(PROJECT / "setup.cfg", encoding="utf-8")
PYTHONS = ("3.11", "3.12")


def hashed_requirements() -> list[str]:
    """The requirement of each entry of constraints.txt, without its hashes."""
    lines = (line for line in CONSTRAINTS.splitlines() if line and not line.startswith(("#", " ")))
    return [line.removesuffix("\\").strip() for line in lines]


def requirements_of(section: str, key: str) -> list[Requirement]:
    return [Requirement(line) for line in SETUP[section][key].split("\n") if line.strip()]


def declared() -> dict[str, Requirement]:
    """What setup.cfg asks for, its extras among it."""
    extras = SETUP["options.extras_require"]
    listed = requirements_of("options", "install_requires") + [
        requirement for extra in extras for requirement in requirements_of("options.extras_require", extra)
    ]
    return {canonicalize_name(requirement.name): requirement for requirement in listed}


def pins(python: str) -> dict[str, str]:
    """Pinned version of every package on Linux with one version of Python."""
    machine = default_environment() | {"sys_platform": "linux", "platform_machine": "x86_64"}
    machine |= {"python_version": python, "python_full_version": f"{python}.9"}
    required = map(Requirement, hashed_requirements())
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in required
        if pin.marker is None or pin.marker.evaluate({key: str(value) for key, value in machine.items()})
    }


@pytest.mark.parametrize(
    ("name", "too_old"),
    [
        ("faster-coco-eval", "1.6.8"),  # no `ranges` of sizes
        ("opencv-python-headless", "4.10.0.82"),  # cannot be imported beside NumPy 2
        ("roifile", "2026.1.8"),  # regions have no `properties`
        ("typer", "0.18.0"),  # no options that are a `Literal`
    ],
)
def test_versions_that_lack_what_is_used_of_them_are_not_admitted(name, too_old):
    assert not declared()[name].specifier.contains(too_old)


def test_uv_reads_the_same_versions_that_the_hashes_are_for():
    assert PYPROJECT["tool"]["uv"]["constraint-dependencies"] == hashed_requirements()


def test_source_distributions_are_built_with_the_pinned_setuptools():
    assert PYPROJECT["tool"]["uv"]["build-constraint-dependencies"] == [
        f"setuptools=={pins('3.11')['setuptools']}"
    ]


def test_every_pin_is_exact_and_has_hashes():
    entries = re.split(r"\n(?=\S)", CONSTRAINTS[CONSTRAINTS.index("\nabsl") + 1 :])
    assert len(entries) == len(hashed_requirements())
    for entry in entries:
        assert re.match(r"^[a-z0-9.-]+==[^ ]+", entry)
        assert "--hash=sha256:" in entry


def test_pins_name_no_place_to_download_from():
    assert not re.search(r"https?:|index-url|find-links|\.org|\.com", CONSTRAINTS)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_declared_dependency_is_pinned_inside_its_bounds(python):
    pinned = pins(python)
    outside = {
        name: (str(requirement.specifier), pinned.get(name))
        for name, requirement in declared().items()
        if name not in pinned or not requirement.specifier.contains(pinned[name])
    }
    assert outside == {}


@pytest.mark.skipif(
    Path(sys.prefix).resolve() != PROJECT / ".venv", reason="uv did not make this environment"
)
def test_a_checkout_runs_what_is_pinned():
    pinned = pins(".".join(map(str, sys.version_info[:2])))
    names = ("numpy", "torch", "pb1-detectron2", "pydantic", "ruff", "mypy")
    assert {name: version(name).split("+")[0] for name in names} == {name: pinned[name] for name in names}


def test_the_package_s_version_is_the_one_of_its_metadata():
    assert sartorius.__version__ == SETUP["metadata"]["version"]


def test_the_licence_is_whole():
    text = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.slow
def test_a_wheel_has_every_module_asset_and_the_licence(tmp_path):
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path / name)
    shutil.copytree(
        PROJECT / "sartorius", tmp_path / "sartorius", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    parts = [tmp_path / "wheel" / "sartorius", tmp_path / "sartorius"]
    shipped, ours = ({path.relative_to(part) for path in part.rglob("*") if path.is_file()} for part in parts)
    assert shipped == ours
    info = next((tmp_path / "wheel").glob("*.dist-info"))
    metadata = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["License"] == "Apache-2.0"
    assert (info / "licenses" / "LICENSE").exists()


def test_the_types_of_the_package_come_with_it_for_those_who_check_theirs():
    assert (PROJECT / "sartorius" / "py.typed").is_file()
    assert SETUP["options.package_data"]["sartorius"].split() == ["py.typed"]
