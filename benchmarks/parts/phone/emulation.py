"""Runs LiteRT for aarch64 on an emulated Cortex-A76, and counts its instructions.

`prepare` makes a directory with an aarch64 Python from Debian's packages, the wheels of LiteRT
and NumPy from the package index, the files in which Linux describes a Cortex-A76, and the plugin
that counts. It needs Debian with `qemu-user` and a C compiler, and no root; it was written on
Debian 12 with QEMU 7.2.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from kprune._support import files

HERE = pathlib.Path(__file__).parent
QEMU = "qemu-aarch64"  # not the static one, which takes no plugins
PLUGIN = "counting.so"
WHEELS = ["ai-edge-litert==2.3.0", "numpy", "flatbuffers"]
PLATFORMS = ["manylinux_2_27_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"]
DEBIAN = ["python3", "libstdc++6"]

# LiteRT chooses its kernels by what Linux says of the processor. QEMU looks for each file in the
# root before it takes the one of this machine.
CPU = "sys/devices/system/cpu"
PROCESSOR = {
    "proc/cpuinfo": (
        "processor\t: 0\n"
        "Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm asimddp\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x3\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n"
    ),
    f"{CPU}/possible": "0\n",
    f"{CPU}/present": "0\n",
    f"{CPU}/online": "0\n",
    f"{CPU}/cpu0/topology/physical_package_id": "0\n",
    f"{CPU}/cpu0/topology/cluster_cpus_list": "0\n",
    f"{CPU}/cpu0/cache/index2/level": "2\n",
    f"{CPU}/cpu0/cache/index2/size": "512K\n",
    f"{CPU}/cpu0/cache/index2/shared_cpu_list": "0\n",
}


@dataclasses.dataclass(frozen=True)
class Phone:
    """An emulated Cortex-A76 with Python and LiteRT.

    Args:
        root: the directory that stands for its disk.
    """

    root: pathlib.Path

    def instructions(self, model: str | os.PathLike[str]) -> int:
        """Returns the instructions of one run of a .tflite file, on one thread.

        Some thousand of them are Python's own. The count is the same each time, but for those.

        Raises:
            RuntimeError: LiteRT does not run the file.
        """
        python = _python(self.root)
        command = [
            *(QEMU, "-cpu", "cortex-a76", "-L", self.root, "-plugin", self.root / PLUGIN),
            *(python, "-S", "-P", HERE / "invocation.py", model),
        ]
        environment = {
            "PYTHONPATH": str(self.root / "site"),
            "PYTHONHASHSEED": "0",
            "PATH": os.defpath,
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        counts = [int(each) for each in re.findall(r"^executed (\d+)$", done.stderr, re.MULTILINE)]
        if done.returncode or len(counts) != 2:
            raise RuntimeError(f"{model} does not run under {QEMU}:\n{done.stderr[-2000:]}")
        return counts[1] - counts[0]


def prepare(directory: str | os.PathLike[str]) -> Phone:
    """Returns an emulated phone, made in a directory where it is not there yet.

    Args:
        directory: some 200 MB; what is complete is used again.

    Raises:
        RuntimeError: a program that this needs is missing or fails.
    """
    root = pathlib.Path(directory).resolve()
    for program, package in ((QEMU, "qemu-user"), ("gcc", "gcc"), ("dpkg-deb", "dpkg")):
        if shutil.which(program) is None:
            raise RuntimeError(
                f"{program} is not installed; expected Debian with it. "
                f"Write apt-get install --no-install-recommends {package}."
            )
    if not (root / PLUGIN).exists():
        with files.replacing(root, PLUGIN) as temporary:
            temporary.mkdir()
            _install_debian(temporary)
            _install_wheels(temporary)
            for name, text in PROCESSOR.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_text(text)
            _compile(temporary / PLUGIN)
    return Phone(root)


def _install_debian(root: pathlib.Path) -> None:
    """Unpacks Python and what it needs, with a package manager that has a state of its own."""
    state = root / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    (state / "apt.conf").write_text(
        'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\n'
        f'Dir::State "{state}";\nDir::State::status "{state / "status"}";\n'
        f'Dir::Cache "{state / "cache"}";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf")}
    _run(["apt-get", "update"], environment)
    options = ["--yes", "--download-only", "--no-install-recommends"]
    _run(["apt-get", "install", *options, *DEBIAN], environment)
    for package in sorted((state / "cache/archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", package, root])
    shutil.rmtree(state)


def _install_wheels(root: pathlib.Path) -> None:
    version = _python(root).name.removeprefix("python")
    platforms = [f"--platform={each}" for each in PLATFORMS]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", f"--target={root / 'site'}"]
    pip = [sys.executable, "-m", "pip", "install", *options, f"--python-version={version}"]
    _run([*pip, *platforms, *WHEELS])


def _compile(plugin: pathlib.Path) -> None:
    """Builds the plugin for the interface of this QEMU, which has the second since version 9."""
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)", said)
    interface = 2 if version and int(version[1]) >= 9 else 1
    source = HERE / "counting.c"
    _run(["gcc", "-O2", "-shared", "-fPIC", f"-DAPI={interface}", "-o", plugin, source])


def _python(root: pathlib.Path) -> pathlib.Path:
    return next(each for each in root.glob("usr/bin/python3.*") if each.name[8:].isdigit())


def _run(
    command: Sequence[str | os.PathLike[str]], environment: dict[str, str] | None = None
) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(map(str, command))
        raise RuntimeError(f"{words} failed:\n{(done.stdout + done.stderr)[-2000:]}")
