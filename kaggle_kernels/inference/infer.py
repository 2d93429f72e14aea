"""The competition's submission, made on Kaggle without the internet.

    python infer.py                 # in a kernel with a bundle of `sartorius bundle` and the competition attached
    python infer.py --help          # the same anywhere else

A valid submission.csv with an empty row for every image is there before anything else is done, and is replaced as images
get done. Ends with status 0 if a submission worth sending is there, whatever single images and the time took away from
it, and says what they did. Before the bundle is installed this needs Python's standard library alone.
"""

import argparse
import csv
import importlib
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

BEGAN_S = time.monotonic()
#: The file that a bundle is known by, and the one beside the competition's images.
MANIFEST, SAMPLE = "sartorius-manifest.json", "sample_submission.csv"
#: Folders below /kaggle/input in which either may be: data sets, competitions and their owners have one each.
DEPTH = 4


def main() -> int:
    """Do everything and return the exit status."""
    options = parsed_options()
    out_csv = options.working / "submission.csv"
    data = options.data or found_below(options.input, SAMPLE, "the competition's data, attached under Data")
    paths = image_paths(data)
    write_empty(out_csv, sorted(paths))
    print(f"{data}: {len(paths)} images; {out_csv} has an empty row for each until they are done", flush=True)
    bundle = options.bundle or found_below(
        options.input, MANIFEST, "a bundle of `sartorius bundle`, attached"
    )
    sys.path.insert(0, str(bundle))
    manifest = importlib.import_module("attached").installed(bundle, options.site or Path(tempfile.mkdtemp()))
    submitted = submission(bundle / manifest["ensemble"], dict(sorted(paths.items())), out_csv, options)
    return 0 if submitted else 1


def parsed_options() -> argparse.Namespace:
    """The command line; its defaults are what Kaggle gives."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, default=Path("/kaggle/input"), help="what is attached")
    parser.add_argument("--working", type=Path, default=Path("/kaggle/working"), help="for submission.csv")
    parser.add_argument("--data", type=Path, help="the competition's folder; default: looked for in --input")
    parser.add_argument("--bundle", type=Path, help="the bundle; default: looked for in --input")
    parser.add_argument("--site", type=Path, help="where packages are installed; default: a temporary folder")
    parser.add_argument("--predictions", type=Path, help="keep what each model finds here")
    parser.add_argument("--budget", default="9h", help="time from start to end; default: 9h, Kaggle's limit")
    parser.add_argument("--device", default="auto", help="cpu, cuda …; default: cuda where it is")
    return parser.parse_args()


def found_below(root: Path, name: str, what: str) -> Path:
    """The one folder at most DEPTH below `root` that holds a file of this name; a message ends the kernel if not."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        if name in files:
            found.append(Path(folder))
        if len(Path(folder).relative_to(root).parts) >= DEPTH:
            folders.clear()
    if len(found) == 1:
        return found[0]
    shown = ", ".join(map(str, sorted(found))) or "none"
    sys.exit(
        f"{root}: expected {what}: one folder with {name}, found {shown}; attach it, or say which by option"
    )


def image_paths(data: Path) -> dict:
    """The file of every test image by id, those that only the sample submission names included."""
    folder = data / "test"
    files = [path for path in folder.glob("*") if path.suffix.lower() in (".png", ".tif", ".tiff")]
    paths = {path.stem: path for path in files if not path.name.startswith(".")}
    if (data / SAMPLE).is_file():
        with (data / SAMPLE).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            ids = {row["id"] for row in csv.DictReader(file) if row.get("id")}
        paths |= {image_id: folder / f"{image_id}.png" for image_id in ids - paths.keys()}
    if not paths:
        sys.exit(f"{folder}: expected the competition's test images, found none")
    return paths


def write_empty(out_csv: Path, image_ids: list) -> None:
    """A valid submission without a cell, put in place as a whole."""
    out_csv.parent.mkdir(parents=True, exist_ok=True)
    temporary = out_csv.with_name(f".{out_csv.name}.new")
    temporary.write_text(
        "".join(["id,predicted\n", *(f"{image_id},\n" for image_id in image_ids)]), encoding="utf-8"
    )
    temporary.replace(out_csv)


def submission(ensemble: Path, paths: dict, out_csv: Path, options: argparse.Namespace) -> bool:
    """Whether at least one image was done; the submission is what `sartorius submit` makes."""
    import torch

    from sartorius import pipeline
    from sartorius.cli.progress import shown_progress
    from sartorius.config import load_ensemble_settings
    from sartorius.detectron.ensemble import load_predictors
    from sartorius.pipeline.durations import parsed_duration_s

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    deadline_s = BEGAN_S + parsed_duration_s(options.budget)
    settings = load_ensemble_settings(ensemble)
    predictors = load_predictors(ensemble, settings, device)
    print(
        f"{len(settings.sources)} models x views on {device}, {time.monotonic() - BEGAN_S:.0f} s after the start"
    )
    began_s = time.monotonic()
    with shown_progress() as report:
        submit_options = pipeline.SubmitOptions(options.predictions, deadline_s, report)
        submitted = pipeline.submit(predictors, settings, paths, out_csv, submit_options)
    done = len(paths) - len(submitted.broken) - len(submitted.unfinished)
    print(f"{out_csv}: {sum(submitted.cells.values())} cells in {done} of {len(paths)} images, checked")
    print(
        f"{(time.monotonic() - began_s) / max(done, 1):.2f} s an image, {time.monotonic() - BEGAN_S:.0f} s in all"
    )
    for what, names in (
        ("dropped to be in time", submitted.dropped),
        ("no time was left for", submitted.unfinished),
        ("could not be done", [f"{image_id} ({why})" for image_id, why in submitted.broken.items()]),
    ):
        if names:
            print(f"{what}: {len(names)}: {', '.join(names)}")
    return done > 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:
        if type(error).__name__ == "UserError":  # the package's, whose message says it all
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        status = 1
    sys.exit(status)
