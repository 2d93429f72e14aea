"""Tests of the code that needs torch and detectron2; without them the folder is left out."""

import importlib.util

if importlib.util.find_spec("torch") and importlib.util.find_spec("detectron2"):
    import sartorius.detectron  # noqa: F401  applies the shims before a test imports detectron2
else:
    collect_ignore_glob = ["test_*.py"]
