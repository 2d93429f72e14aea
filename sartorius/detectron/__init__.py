"""The only code that imports torch and detectron2: training and prediction.

Importing it applies the shims that let detectron2 run on today's PyTorch, see `compat`.
"""

from sartorius.detectron import compat

compat.apply()
