import pytest
from tuning_scene import written_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """Simulated predictions of synthetic images; tests read them and write elsewhere."""
    return written_scene(tmp_path_factory.mktemp("report"))
