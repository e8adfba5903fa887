"""Training on several devices ends as on one: the scripts of docs/distributed.md, run."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "distributed.md").read_text()
SCRIPTS = dict(re.findall(r'```python title="(\w+)\.py"\n(.*?)```', PAGE, flags=re.DOTALL))

# Saves the values and masks of each replica.
SAVE = """
import sys
import numpy as np
from kprune._keras import backend
found = {}
for weight in kprune.masked_weights(model):
    for name, variable in (("value", weight.variable), ("mask", weight.mask)):
        value = variable.value
        copies = getattr(value, "values", None) or getattr(value, "addressable_shards", [value])
        found[f"{name} {weight.variable.name} {weight.size}"] = np.stack(
            [np.asarray(getattr(copy, "data", copy)) if backend.NAME == "jax"
             else backend.to_numpy(copy) for copy in copies]
        )
np.savez(sys.argv[1], **found)
"""
ON_ONE_DEVICE = SCRIPTS["parallel"].replace(
    "keras.distribution.set_distribution(keras.distribution.DataParallel())", ""
)


def start(script, path, **environment):
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    program = path.with_suffix(".py")
    program.write_text(script + SAVE)
    return subprocess.Popen(
        [sys.executable, program, path],
        env=os.environ | {"PYTHONPATH": python_path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, path):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return dict(np.load(path))


def assert_alike(found, alone, replicas):
    """Every replica has the masks of one device, and its values within rounding."""
    assert found.keys() == alone.keys()
    for name, copies in found.items():
        assert len(copies) == replicas
        for copy in copies:
            np.testing.assert_array_equal(copy, copies[0])
            if name.startswith("mask"):
                np.testing.assert_array_equal(copy, alone[name][0])
            else:
                np.testing.assert_allclose(copy, alone[name][0], atol=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Results of one device, by the backend."""
    folder = tmp_path_factory.mktemp("alone")
    paths = {name: folder / f"on_{name}.npz" for name in ("tensorflow", "jax")}
    running = {name: start(ON_ONE_DEVICE, path, KERAS_BACKEND=name) for name, path in paths.items()}
    return {name: finish(process, paths[name]) for name, process in running.items()}


def test_two_replicas(alone, tmp_path):
    path = tmp_path / "mirrored.npz"
    assert_alike(finish(start(SCRIPTS["mirrored"], path), path), alone["tensorflow"], replicas=2)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_two_workers(alone, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    paths = [tmp_path / f"worker{index}.npz" for index in range(2)]
    running = [
        start(
            SCRIPTS["workers"],
            path,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index, path in enumerate(paths)
    ]
    for process, path in zip(running, paths, strict=True):
        assert_alike(finish(process, path), alone["tensorflow"], replicas=1)


def test_two_devices_of_jax(alone, tmp_path):
    path = tmp_path / "parallel.npz"
    flags = "--xla_force_host_platform_device_count=2"
    process = start(SCRIPTS["parallel"], path, KERAS_BACKEND="jax", XLA_FLAGS=flags)
    assert_alike(finish(process, path), alone["jax"], replicas=2)
