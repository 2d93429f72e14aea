"""A submission that is valid from the first moment and grows image by image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sartorius.cells import Cells
from sartorius.files import atomic_path
from sartorius.submission import check_submission, mask_texts, write_texts

#: Size taken for images without cells: their rows hold no mask that it would matter to.
_NO_SIZE_HW = (1, 1)


class GrowingSubmission:
    """The file at `path` names every image; those without cells so far have their empty row.

    It is replaced as a whole each time, so that whoever reads it, or is left with it, has a valid submission.
    """

    def __init__(self, path: Path, image_ids: Sequence[str]) -> None:
        self._path = path
        self._texts: dict[str, list[str]] = {image_id: [] for image_id in image_ids}
        self._sizes_hw = dict.fromkeys(image_ids, _NO_SIZE_HW)

    def add(self, cells: Cells) -> None:
        """Take the cells of one of the images; raises UserError if two of them share a pixel."""
        self._texts[cells.image_id] = mask_texts(cells)
        self._sizes_hw[cells.image_id] = cells.size_hw

    def write(self) -> None:
        """Replace the file by what is known so far."""
        write_texts(self._path, self._texts)

    def write_checked(self) -> None:
        """Replace the file if the new one passes the check; raises ValueError listing the problems if it does not."""
        with atomic_path(self._path) as temporary:
            write_texts(temporary, self._texts)
            refuse_problems(temporary, self._sizes_hw)


def refuse_problems(path: Path, sizes_hw: Mapping[str, tuple[int, int]]) -> None:
    """Raise ValueError listing the problems of a submission of ours: fusion or clean-up have a fault."""
    problems = check_submission(path, sizes_hw)
    if problems:
        shown = "\n".join(f"line {problem.line}: {problem.message}" for problem in problems[:10])
        raise ValueError(f"{len(problems)} problems in the submission\n{shown}")
