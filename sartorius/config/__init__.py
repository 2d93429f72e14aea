"""Settings as frozen pydantic models, read from YAML files."""

from sartorius.config.ensemble import EnsembleSettings, load_ensemble_settings
from sartorius.config.model import ModelSettings, load_model_settings

__all__ = ["EnsembleSettings", "ModelSettings", "load_ensemble_settings", "load_model_settings"]
