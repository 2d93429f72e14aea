"""The predictors of an ensemble file, loaded."""

from pathlib import Path

from sartorius.config import EnsembleSettings
from sartorius.config.ensemble import STAGE_WISE_MEMBER
from sartorius.detectron.predictor import Predictor, load_predictor
from sartorius.detectron.stage_wise import StageWisePredictor


def load_predictors(
    ensemble: Path, settings: EnsembleSettings, device: str
) -> dict[str, Predictor] | dict[str, StageWisePredictor]:
    """The predictor of each member of the ensemble's `runs`, by its name; paths are relative to the ensemble file.

    Raises UserError when a settings or weights file is missing or wrong, or the device is not there.
    """
    folder = ensemble.parent
    members = {
        member.name: load_predictor(
            (folder / member.model).resolve(), (folder / member.weights).resolve(), device
        )
        for member in settings.trained_members
    }
    if settings.stage_wise is None:
        return members
    return {STAGE_WISE_MEMBER.name: StageWisePredictor(members, settings)}
