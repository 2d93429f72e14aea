"""One model trained on Kaggle, in as many sessions as it takes.

    python train.py                 # in a kernel with a bundle of `sartorius bundle` and the competition attached
    python train.py --help          # the same anywhere else

To go on after a session, attach this kernel's own output to it (its metadata's `kernel_sources`) and run it again: the
run folder found there is copied and `sartorius train --resume` goes on from its last checkpoint. A session ends by itself
before Kaggle would end it, since what Kaggle ends leaves no output. Kaggle gives a script no arguments: change the
defaults below.
"""

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BEGAN_S = time.monotonic()
MANIFEST, TRUTH, CHECKPOINT = "sartorius-manifest.json", "train.csv", "last_checkpoint"
#: Folders below /kaggle/input in which they may be.
DEPTH = 6
#: Seconds that a training is given to end by itself when time is up.
GRACE_S = 60.0


def main() -> int:
    """Train and return the exit status."""
    options, more = parsed_options()
    bundle = options.bundle or one_below(options.input, MANIFEST, "a bundle of `sartorius bundle`")
    data = options.data or one_below(options.input, TRUTH, "the competition's data")
    sys.path.insert(0, str(bundle))
    site = options.site or Path(tempfile.mkdtemp())
    importlib.import_module("attached").installed(bundle, site)
    from sartorius.pipeline.durations import parsed_duration_s

    end_s = BEGAN_S + parsed_duration_s(options.budget)
    config = chosen_config(bundle, options.model)
    runs = options.working / "runs"
    restore_runs(options.input, runs)
    split = "all" if options.fold is None else f"fold{options.fold}"
    gpus = gpus_here() if options.gpus is None else options.gpus
    arguments = ["train", config, "--data", data, "--runs", runs, "--gpus", gpus]
    if options.fold is not None:
        folds = options.working / "folds.csv"
        if not folds.is_file():
            status = sartorius(site, ["data", "folds", data, "--out", folds], end_s)
            if status != 0 or not folds.is_file():
                return status
        arguments += ["--folds", folds, "--fold", options.fold]
    if (runs / config.stem / split / CHECKPOINT).is_file():
        arguments.append("--resume")
    return sartorius(site, [*arguments, *more], end_s)


def parsed_options() -> tuple:
    """The command line, and what of it goes to `sartorius train` as it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, default=Path("/kaggle/input"), help="what is attached")
    parser.add_argument("--working", type=Path, default=Path("/kaggle/working"), help="for the run's folder")
    parser.add_argument("--data", type=Path, help="the competition's folder; default: looked for in --input")
    parser.add_argument("--bundle", type=Path, help="the bundle; default: looked for in --input")
    parser.add_argument("--site", type=Path, help="where packages are installed; default: a temporary folder")
    parser.add_argument("--model", help="member of the bundle's ensemble; default: its only one")
    parser.add_argument(
        "--fold", type=fold_number, default=0, help="left out to validate on; `all` trains on every image"
    )
    parser.add_argument("--gpus", type=int, help="to train on; default: all of the machine")
    parser.add_argument("--budget", default="8h30m", help="the session ends after this time")
    return parser.parse_known_args()


def fold_number(text: str) -> int | None:
    """The number of a fold, None for all images."""
    return None if text == "all" else int(text)


def below(root: Path, name: str) -> list:
    """The folders at most DEPTH below `root` that hold a file of this name."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        if name in files:
            found.append(Path(folder))
        if len(Path(folder).relative_to(root).parts) >= DEPTH:
            folders.clear()
    return sorted(found)


def one_below(root: Path, name: str, what: str) -> Path:
    """The only such folder; a message ends the kernel if there is none or several."""
    found = below(root, name)
    if len(found) != 1:
        shown = ", ".join(map(str, found)) or "none"
        sys.exit(f"{root}: expected {what}, one folder with {name}, found {shown}; attach it, or say which")
    return found[0]


def chosen_config(bundle: Path, model: str) -> Path:
    """The settings of one model of the bundle's ensemble."""
    there = {path.stem.removeprefix("model_"): path for path in sorted(bundle.glob("model_*.yaml"))}
    if model is None and len(there) == 1:
        return next(iter(there.values()))
    if model not in there:
        sys.exit(
            f"--model expects one of {', '.join(there)}, got {model}; on Kaggle change its default in train.py"
        )
    return there[model]


def restore_runs(attached: Path, runs: Path) -> None:
    """Run folders of an earlier session's output copied to where they can go on."""
    for folder in below(attached, CHECKPOINT):
        target = runs / folder.parent.name / folder.name
        if not target.exists():
            shutil.copytree(folder, target, copy_function=shutil.copyfile)
            print(f"{folder}: an earlier session's run, goes on in {target}", flush=True)


def gpus_here() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


def sartorius(site: Path, arguments: list, end_s: float) -> int:
    """The exit status of the command line, 0 also if it was ended at `end_s` of the clock; what it has written is kept."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-P", "-c", "from sartorius.cli import main; main()", *map(str, arguments)]
    # a shell's background ignores SIGINT; the command would inherit that, and could not be ended in order
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env=environment) as running:
        try:
            return running.wait(max(end_s - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
        try:
            running.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            running.kill()
    print("time is up; attach this kernel's output to it and run it again to go on", flush=True)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:
        if type(error).__name__ != "UserError":
            raise
        status = str(error)  # the package's, whose message says it all
    sys.exit(status)
