"""A .keras file made to harm leads nowhere outside of itself, and takes no more than the limit."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from attacks import CODE, LIMIT, dense

from kprune import export


@pytest.fixture
def keras_file(tmp_path):
    path = tmp_path / "model.keras"
    dense().save(path)
    return path


def rewrite(path, change):
    """Writes an archive anew, with its files changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    extra = change(entries) or []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*entries.items(), *extra]:
            archive.writestr(name, content)


def change_weights(path, change):
    """Changes the HDF5 file in an archive."""

    def change_entry(entries):
        content = io.BytesIO(entries["model.weights.h5"])
        with h5py.File(content, "r+") as store:
            change(store)
        entries["model.weights.h5"] = content.getvalue()

    rewrite(path, change_entry)


def link():
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    return entry


ARCHIVES = {
    "above": (lambda entries: [("../evil", b"x")], "would be written elsewhere"),
    "absolute": (lambda entries: [("/tmp/evil", b"x")], "would be written elsewhere"),
    "windows": (lambda entries: [("a\\..\\..\\evil", b"x")], "would be written elsewhere"),
    "drive": (lambda entries: [("c:evil", b"x")], "would be written elsewhere"),
    "link": (lambda entries: [(link(), b"/etc/passwd")], "would be written elsewhere"),
    "bomb": (lambda entries: [("assets/zeros", bytes(1 << 25))], "expected 16,777,216"),
    "no config": (lambda entries: entries.pop("config.json") and None, "no item named"),
    "no object": (lambda entries: entries.update({"config.json": b"[]"}), "not an object"),
    "deep": (lambda entries: entries.update({"config.json": b"[" * 9999}), "nested too deeply"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_made_to_harm(kind, keras_file):
    change, message = ARCHIVES[kind]
    rewrite(keras_file, change)
    with pytest.raises(ValueError, match=message):
        export.check(keras_file, limit_bytes=LIMIT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_configs_in_an_archive(keras_file):
    """One would be checked, and the other one loaded."""
    rewrite(keras_file, lambda entries: [("config.json", b"{}")])
    with pytest.raises(ValueError, match="the same name"):
        export.check(keras_file)


def external_link(store):
    del store["layers/dense/vars/0"]
    store["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(store):
    del store["layers/dense/vars/0"]
    store["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def virtual(store):
    layout = h5py.VirtualLayout((8, 2), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (8, 2))
    del store["layers/dense/vars/0"]
    store.create_virtual_dataset("layers/dense/vars/0", layout)


def external_data(store):
    del store["layers/dense/vars/0"]
    where = [("/etc/passwd", 0, 64)]
    store.create_dataset("layers/dense/vars/0", (8, 2), "f4", external=where)


def huge(store):
    store.create_dataset("x", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (virtual, "kept in another file"),
        (external_data, "kept in another file"),
        (huge, "weights take 4,398"),
    ],
)
def test_weights_made_to_harm(change, message, keras_file):
    change_weights(keras_file, change)
    with pytest.raises(ValueError, match=message):
        export.check(keras_file)


def test_weights_in_any_form_are_measured(keras_file):
    """Keras reads them from .npz too, and from several files."""
    bomb = io.BytesIO()
    np.savez_compressed(bomb, x=np.zeros((1 << 23,), "f4"))
    rewrite(keras_file, lambda entries: [("model.weights.npz", bomb.getvalue())])
    with pytest.raises(ValueError, match="weights take 33,554,"):
        export.check(keras_file, limit_bytes=LIMIT)
    other = io.BytesIO()
    with h5py.File(other, "w") as store:
        store["x"] = h5py.ExternalLink("/etc/passwd", "/x")
    dense().save(keras_file)
    rewrite(keras_file, lambda entries: [("model_00000.weights.h5", other.getvalue())])
    with pytest.raises(ValueError, match="ExternalLink"):
        export.check(keras_file)


def test_groups_in_a_circle_end(keras_file):
    change_weights(keras_file, lambda store: store["layers"].__setitem__("again", store["layers"]))
    export.check(keras_file)


def test_a_keras_file_with_code_or_a_huge_layer(keras_file):
    original = keras_file.read_bytes()

    def change_config(change):
        def change_entry(entries):
            config = json.loads(entries["config.json"])
            change(config["config"]["layers"])
            entries["config.json"] = json.dumps(config).encode()

        keras_file.write_bytes(original)
        rewrite(keras_file, change_entry)

    for attack in ("a download", "bytecode", "a pickled module", "os.system"):
        change_config(lambda found, attack=attack: found.append(CODE[attack]))
        with pytest.raises(ValueError, match="the config names"):
            export.check(keras_file)
    change_config(lambda found: found[1]["config"].update(units=1 << 40))
    with pytest.raises(ValueError, match="its variables would take"):
        export.check(keras_file)


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000])
def test_what_is_no_archive(content, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a sound \.keras file"):
        export.check(path)
    with pytest.raises(OSError):
        export.check(tmp_path / "nowhere.keras")
