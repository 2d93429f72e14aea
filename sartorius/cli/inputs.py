"""The files that stand behind a command's arguments, which its results never replace; imported lazily."""

from pathlib import Path

from sartorius.config import load_ensemble_settings
from sartorius.config.yaml_files import read_layers

#: What the competition's folder holds.
TABLES = ("train.csv", "sample_submission.csv")
IMAGE_FOLDERS = ("train", "test", "train_semi_supervised")


def ensemble_files(ensemble: Path) -> list[Path]:
    """An ensemble file, its models' files, those they stand on, and what else its members name; not all need to exist.

    Raises UserError if one of them cannot be read.
    """
    members = load_ensemble_settings(ensemble).members
    models = [ensemble.parent / one.model for one in members if one.model]
    settings = [ensemble, *(model for model in models if model.is_file())]
    others = [name for one in members for name in (one.weights, one.predictions, one.reference) if name]
    return [
        *(Path(layer.origin) for path in settings for layer in read_layers(path)),
        *(ensemble.parent / name for name in others),
    ]


def competition_tables(images: Path) -> list[Path]:
    """The competition's tables that are in a folder of --images or beside it."""
    folders = (images, images.absolute().parent)
    return [folder / name for folder in folders for name in TABLES if (folder / name).is_file()]


def images_of_name(data_dir: Path, name: str) -> list[Path]:
    """The images of the competition's folder that have this file name."""
    paths = [data_dir / folder / name for folder in IMAGE_FOLDERS]
    return [path for path in paths if path.is_file()]
