"""Everything an offline Kaggle kernel needs, in one folder with the hash of every file."""
