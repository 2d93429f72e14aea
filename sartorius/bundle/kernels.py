"""The folders that `kaggle kernels push` sends: a script, or the notebook made of it, and its metadata."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from sartorius.checkout import checkout_file
from sartorius.errors import UserError

#: The kernels of kaggle_kernels/ by folder, each with its script.
SCRIPTS = {"inference": "infer.py", "training": "train.py"}
METADATA = "kernel-metadata.json"


class Naming(NamedTuple):
    """Under which names Kaggle keeps a bundle.

    user: the owner's name there. dataset: the bundle's slug; kernels are `<dataset>-inference` and `…-training`.
    """

    user: str
    dataset: str

    @property
    def dataset_id(self) -> str:
        """As Kaggle names data sets."""
        return f"{self.user}/{self.dataset}"

    @property
    def title(self) -> str:
        """The title whose slug the data set's name is."""
        return self.dataset.replace("-", " ")


def checked_naming(user: str, dataset: str) -> Naming:
    """Raises UserError unless Kaggle would take the names."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", user):
        raise UserError(f"--user expects your name on Kaggle as in its address, got {user!r}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", dataset) or not 6 <= len(dataset) <= 40:
        raise UserError(
            f"--name expects 6 to 40 small letters, digits and single dashes, for example sartorius-bundle, got {dataset!r}"
        )
    return Naming(user, dataset)


def dataset_metadata(naming: Naming) -> str:
    """`dataset-metadata.json` for `kaggle datasets create`; weights trained on the competition's data are not free."""
    return _json({"title": naming.title, "id": naming.dataset_id, "licenses": [{"name": "other"}]})


def write_kernels(folder: Path, naming: Naming, as_notebooks: bool) -> None:
    """`folder` holds one folder for each kernel, ready to push; as_notebooks: with notebooks instead of scripts."""
    for kind, script in SCRIPTS.items():
        code = checkout_file(f"kaggle_kernels/{kind}/{script}").read_text(encoding="utf-8")
        metadata = json.loads(checkout_file(f"kaggle_kernels/{kind}/{METADATA}").read_text(encoding="utf-8"))
        metadata |= {
            "id": f"{naming.dataset_id}-{kind}",
            "title": f"{naming.title} {kind}",
            "dataset_sources": [naming.dataset_id],
        }
        (folder / kind).mkdir(parents=True)
        if as_notebooks:
            metadata |= {"code_file": f"{Path(script).stem}.ipynb", "kernel_type": "notebook"}
            code = notebook(code, script)
        (folder / kind / metadata["code_file"]).write_text(code, encoding="utf-8")
        (folder / kind / METADATA).write_text(_json(metadata), encoding="utf-8")


def notebook(code: str, script: str) -> str:
    """A Jupyter notebook that writes a script and runs it; it fails where the script does."""
    run = f'import subprocess\nimport sys\n\nsubprocess.run([sys.executable, "{script}"], check=True)'
    cells = [
        {"cell_type": "markdown", "id": "about", "metadata": {}, "source": _lines(f"Made from `{script}`.")},
        _code_cell("script", f"%%writefile {script}\n{code}"),
        _code_cell("run", run),
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return _json({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def _code_cell(name: str, source: str) -> dict[str, object]:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": _lines(source),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
