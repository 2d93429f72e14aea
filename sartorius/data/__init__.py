"""Files turned into `Cells` and back: the competition's data, images, folds, cached predictions, synthetic cells."""
