"""Checks a bundle of `sartorius bundle` and makes its packages importable.

Part of every bundle, beside the files it checks. The standard library alone: nothing else is there yet.
"""

import hashlib
import importlib
import json
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MANIFEST = "sartorius-manifest.json"
BUNDLE_VERSION = 1
AGAIN = "make the bundle again and upload it as a new version"


def verified(bundle: Path) -> dict:
    """The bundle's manifest, every file it lists being there with its hash; ends the kernel with a message if not."""
    try:
        manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:
        sys.exit(f"{bundle}: {MANIFEST} is damaged; {AGAIN}")
    if manifest["bundle_version"] != BUNDLE_VERSION:
        sys.exit(f"{bundle}: a bundle of version {manifest['bundle_version']}, expected {BUNDLE_VERSION}")
    wrong = [name for name, digest in manifest["sha256"].items() if _sha256(bundle / name) != digest]
    if wrong:
        sys.exit(
            f"{bundle}: {len(wrong)} of {len(manifest['sha256'])} files are missing or damaged: {', '.join(wrong[:8])}; "
            f"{AGAIN}"
        )
    here = "{}.{}".format(*sys.version_info[:2])
    if manifest["python"] != here:
        sys.exit(
            f"{bundle}: made for Python {manifest['python']}, this kernel runs {here}; "
            f"make it again with `sartorius bundle … --python {here}`"
        )
    return manifest


def installed(bundle: Path, site: Path) -> dict:
    """The manifest of a bundle whose packages are now in the folder `site`, and that on Python's path.

    The environment stays as it is, and no network is needed. What the kernel's own packages lack is told.
    """
    began = time.monotonic()
    manifest = verified(bundle)
    checked = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--target", str(site)]
    done = subprocess.run([*command, *(str(bundle / name) for name in manifest["wheels"])], check=False)
    if done.returncode != 0:
        sys.exit(f"{bundle}: its wheels could not be installed, see above")
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    for name, needs in unmet(manifest["counted_on"]).items():
        print(f"warning: {name}: {needs}; make the bundle again with --image and this kernel's `pip freeze`")
    print(
        f"sartorius {manifest['package_version']}: {len(manifest['sha256'])} files checked in {checked - began:.1f} s, "
        f"{len(manifest['wheels'])} wheels installed in {time.monotonic() - checked:.1f} s",
        flush=True,
    )
    return manifest


def unmet(counted_on: dict) -> dict:
    """What is wrong, by name, with packages that the bundle expects to be there already."""
    from pip._vendor.packaging.specifiers import SpecifierSet

    wrong = {}
    for name, accepted in counted_on.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong[name] = "expected in this kernel, but it is not installed"
            continue
        if not SpecifierSet(accepted).contains(found, prereleases=True):
            wrong[name] = f"{accepted} is needed, this kernel has {found}"
    return wrong


def _sha256(path: Path) -> str:
    """The hash of a file, empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
