"""Ablations: what each of a folder of small settings files gains or loses against the file that they stand on."""
