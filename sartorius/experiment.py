"""Run folders: where a training run lives, and how it came about."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from sartorius.config import ModelSettings
from sartorius.config.reading import read_settings
from sartorius.errors import UserError
from sartorius.files import atomic_path
from sartorius.formats.json_files import read_json

PACKAGES = (
    "sartorius",
    "torch",
    "torchvision",
    "detectron2",
    "pb1-detectron2",
    "numpy",
    "opencv-python-headless",
    "pycocotools",
)


PROVENANCE = "provenance.json"
#: The file in which detectron2 names the checkpoint to resume from.
LAST_CHECKPOINT = "last_checkpoint"
#: What there is to lose in a run folder: checkpoints to go on from, and the weights that a training ends with.
_CHECKPOINTS = ("model_[0-9]*.pth", "model_final.pth")
_ENDED = "model.safetensors"
#: What a run leaves behind before its first checkpoint, and a new one would take for its own.
_LEFT_BEHIND = (
    "best.json",
    "model_best.pth",
    "model_swa.pth",
    "metrics.json",
    "metrics.csv",
    "curves.png",
    "events.out.tfevents.*",
    "log.txt",
    "log.txt.rank*",
    "trained_on.csv",
)
#: What decides which pictures come and what they change, by its name in a provenance.
_DECISIVE = {
    "--seed": "seed",
    "--fold": "fold",
    "--folds": "folds_sha256",
    "training images": "training_sha256",
    "validation images": "validation_sha256",
}


def run_folder(root: Path, config: Path, fold: int | None) -> Path:
    """`<root>/<stem of the settings file>/fold<k>`, or `…/all` for a run on all images."""
    return root / config.stem / ("all" if fold is None else f"fold{fold}")


def weights_of_folds(weights: Path) -> list[Path]:
    """A file of weights, and those of the same name of the run's other folds beside it, as far as they are there."""
    files = dict.fromkeys([weights, *sorted(weights.parent.parent.glob(f"fold*/{weights.name}"))])
    return [file for file in files if file.is_file()]


def open_run(folder: Path, settings: ModelSettings, resume: bool) -> None:
    """Refuse a folder that holds another run than the one that is about to start or go on.

    A run that ended before its first checkpoint, by bad weights for example, holds nothing to lose and may start anew.
    Raises UserError when a run is there and not to be resumed, none is there to resume, its settings differ, or there
    are weights without settings, as copied from elsewhere.
    """
    config = folder / "config.yaml"
    if not config.exists():
        if any(_found(folder, (LAST_CHECKPOINT, _ENDED, *_CHECKPOINTS, "model_best.pth", "model_swa.pth"))):
            raise UserError(
                f"{folder}: weights are already here, but no config.yaml that says of which run; move the folder away"
            )
        if resume:
            raise UserError(f"{folder}: no run to resume here; leave out --resume to start one")
        return
    if not resume:
        if not any(_found(folder, (LAST_CHECKPOINT, _ENDED, *_CHECKPOINTS))):
            return
        raise UserError(f"{folder}: a run is already here; go on with --resume, or move the folder away")
    refuse_other_settings(folder, settings)


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run goes on from; None before its first one.

    Raises UserError if it is not there, although the run has come further than that.
    """
    tag = folder / LAST_CHECKPOINT
    name = tag.read_text(encoding="utf-8", errors="replace").strip() if tag.is_file() else ""
    if (folder / name).is_file():
        return folder / name
    if not any(_found(folder, (LAST_CHECKPOINT, _ENDED, *_CHECKPOINTS))):
        return None
    left = ", ".join(path.name for path in _found(folder, _CHECKPOINTS)) or "none is left"
    raise UserError(
        f"{tag}: expected the name of a checkpoint in this folder to go on from, got {name or 'nothing'}; name one of "
        f"those that are there ({left}), or move the folder away"
    )


def remove_left_behind(folder: Path) -> None:
    """Delete the results of a run that ended before its first checkpoint, so that a new one does not take them for its own."""
    for path in _found(folder, _LEFT_BEHIND):
        path.unlink()


def _found(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(folder.glob(pattern))


def refuse_other_settings(folder: Path, settings: ModelSettings) -> None:
    """Raise UserError if the run in a folder was made with other settings; one that lacks newer keys has their defaults.

    Why a run is made, its `hypothesis`, may be told otherwise.
    """
    before, now = (
        some.model_dump(mode="json", exclude={"hypothesis"})
        for some in (read_settings(folder / "config.yaml", ModelSettings), settings)
    )
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        details = ", ".join(f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in changed)
        raise UserError(
            f"{folder}: the run here has other settings: {details}; change them back, or move the folder away"
        )


def write_provenance(folder: Path, settings: ModelSettings, facts: Mapping[str, object]) -> None:
    """Write the merged settings and what the run depends on: `config.yaml` and `provenance.json`.

    facts: what only the caller knows: command, seed, data hash, initial weights.
    """
    with atomic_path(folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    _write_facts(folder, {**facts, **_code()})


def continue_provenance(folder: Path, facts: Mapping[str, object]) -> None:
    """Add a session that resumes the run to its `provenance.json`.

    facts: as for `write_provenance`; what it leaves out, or a run that began earlier has not written down, may be anything.
    Raises UserError when seed, fold, annotations, images or initial weights are not those that the run began with, or
    the file cannot be read.
    """
    began = read_json(folder / PROVENANCE)
    if not isinstance(began, dict):
        raise UserError(
            f"{folder / PROVENANCE}: expected what `sartorius train` writes about a run, got a list or value"
        )
    weights = "initial_weights_sha256"  # files may lie elsewhere now
    names = {"--weights": weights if began.get(weights) and facts.get(weights) else "initial_weights"}
    before, now = (_decisive(some, _DECISIVE | names) for some in (began, facts))
    changed = [
        f"{key}: {before[key]!r} -> {now[key]!r}"
        for key in before
        if before[key] != now.get(key, before[key])
    ]
    if changed:
        raise UserError(
            f"{folder}: --resume goes on with the data, seed and weights of the run, but these changed: {', '.join(changed)}; "
            "change them back, or move the folder away"
        )
    sessions = [*began.get("resumed", []), {"command": facts["command"], **_code()}]
    _write_facts(folder, began | {"resumed": sessions})


def _decisive(facts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, object]:
    """What decides how the run goes on, as far as it is known; hashes are shortened, files may lie elsewhere now."""
    known = {name: facts[key] for name, key in names.items() if key in facts}
    short = {
        name: value[:12] for name, value in known.items() if str(names[name]).endswith("sha256") and value
    }
    annotations = {"annotations": sorted(sha256[:12] for sha256 in facts["data_sha256"].values())}
    return {**known, **short, **annotations}


def _write_facts(folder: Path, facts: Mapping[str, object]) -> None:
    with atomic_path(folder / PROVENANCE) as path:
        path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _code() -> dict[str, object]:
    """The code that runs now."""
    return {
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: installed for name in PACKAGES if (installed := _version(name))},
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_commit() -> str:
    """The checkout's commit, with "+changes" when files differ from it; "" outside of a checkout."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        _git(
            folder, "ls-files", "--error-unmatch", Path(__file__).name
        )  # else the checkout is one of other code
        return (
            f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
        )
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
