"""The machine that the kernels are run on."""

import pytest
from kaggle_runs import Machine, made_machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory) -> Machine:
    """A fresh machine like Kaggle's, and a bundle of an ensemble of tiny models."""
    pytest.importorskip("detectron2", reason="the kernels need detectron2")
    pytest.importorskip("ensurepip", reason="a new environment needs pip, which this Python cannot put there")
    return made_machine(tmp_path_factory.mktemp("kaggle"))
