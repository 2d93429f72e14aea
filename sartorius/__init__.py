"""Segment every single cell in microscopy images with ensembles of Detectron2 models."""

__version__ = "0.1.0"
