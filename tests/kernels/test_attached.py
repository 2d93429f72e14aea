"""A bundle checked by the script that comes with it, before anything is installed."""

import importlib.util

import pytest
from kaggle_machine import PROJECT


def test_a_manifest_that_is_cut_short_is_told_in_one_message(tmp_path):
    spec = importlib.util.spec_from_file_location("attached", PROJECT / "kaggle_kernels" / "attached.py")
    attached = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(attached)
    (tmp_path / "sartorius-manifest.json").write_text('{"bundle_version": 1, "pyth')
    with pytest.raises(
        SystemExit, match=r"sartorius-manifest\.json is damaged; make the bundle again and upload"
    ):
        attached.verified(tmp_path)
