"""Settings of fusion and clean-up searched on cached predictions, each figure from images they were not searched on."""
