import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import torch
from sartorius.detectron.allocation import keep_freed_memory

def resident_mb():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize() / 1e6

if sys.argv[1] == "kept":
    keep_freed_memory()
before = resident_mb()
pixels = torch.ones(50_000_000)
assert resident_mb() > before + 150
del pixels
print(resident_mb() - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="acts where glibc allocates"
)
@pytest.mark.parametrize(("how", "least_mb", "most_mb"), [("kept", 150, 250), ("given back", -50, 50)])
def test_memory_that_a_step_frees_stays_for_the_next(how: str, least_mb: float, most_mb: float) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert least_mb < float(done.stdout) < most_mb
