"""Fusion: which detections of many models and views are one cell, and what mask, score and type that cell gets."""

from sartorius.fusion.engine import fuse
from sartorius.fusion.explanation import CellFate, DetectionFate, Explanation, explain, explanation_text

__all__ = ["CellFate", "DetectionFate", "Explanation", "explain", "explanation_text", "fuse"]
