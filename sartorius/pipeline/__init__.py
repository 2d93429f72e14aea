"""Predict, fuse, clean and submit over many images, given one `Predictor` for each model."""

from sartorius.pipeline.choosing import choose_images
from sartorius.pipeline.fusing import Fused, explain_image, fuse_predictions, fused_and_cleaned, read_sources
from sartorius.pipeline.predicting import Predicted, Report, predict_images
from sartorius.pipeline.predictor import Predictor
from sartorius.pipeline.submitting import SubmitOptions, Submitted, submit, write_checked

__all__ = [
    "Fused",
    "Predicted",
    "Predictor",
    "Report",
    "SubmitOptions",
    "Submitted",
    "choose_images",
    "explain_image",
    "fuse_predictions",
    "fused_and_cleaned",
    "predict_images",
    "read_sources",
    "submit",
    "write_checked",
]
