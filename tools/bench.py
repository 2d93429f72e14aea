"""Run the benchmarks that need no model (fusion, tuning, scoring) one after the other, so that none slows another.

    uv run python tools/bench.py [--data DIR]

DIR is the competition's folder as downloaded; without it synthetic images stand in. Exits with status 1 if a benchmark
missed its own limit.
"""

import argparse
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent


def run_all(data_dir: Path | None) -> int:
    """The highest exit status of the benchmarks; one that a signal ended counts too."""
    given = [] if data_dir is None else ["--data", str(data_dir)]
    return max(
        abs(_run(script, *given)) for script in ("bench_fusion.py", "bench_tuning.py", "bench_scoring.py")
    )


def _run(script: str, *arguments: str) -> int:
    sys.stdout.write(f"\n{script}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, str(TOOLS / script), *arguments], check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="the competition's folder")
    sys.exit(run_all(parser.parse_args().data))
