"""Files appear whole or not at all, and their sizes are those that the system tells."""

import gzip
import os
import pathlib

import pytest

from kprune._support import files

pytestmark = pytest.mark.quick


def tree(root: pathlib.Path) -> dict[str, bytes]:
    """Everything below a directory, hidden files too."""
    return {
        str(each.relative_to(root)): each.read_bytes() if each.is_file() else b"/"
        for each in root.rglob("*")
    }


def fill(path: pathlib.Path, text: str) -> None:
    """Writes a directory of two files, the first of which marks its kind."""
    path.mkdir()
    (path / "marker").write_text(text)
    (path / "data").write_text(text * 3)


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with files.replacing(path) as temporary:
        assert temporary.suffix == ".bin"
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert tree(tmp_path) == {"model.bin": b"new"}


def test_a_directory_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "model"
    fill(path, "old")
    (path / "only in the old one").touch()
    with files.replacing(path, "marker") as temporary:
        fill(temporary, "new")
        assert (path / "marker").read_text() == "old"
    assert tree(tmp_path) == {"model": b"/", "model/marker": b"new", "model/data": b"new" * 3}


@pytest.mark.parametrize("marker", [None, "marker"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_everything_as_it_was(tmp_path, marker, error):
    path = tmp_path / "model"
    fill(path, "old") if marker else path.write_text("old")
    before = tree(tmp_path)
    with pytest.raises(error), files.replacing(path, marker) as temporary:
        fill(temporary, "new") if marker else temporary.write_text("new")
        raise error
    assert tree(tmp_path) == before


def test_parents_are_made_and_go_again_with_a_failure(tmp_path):
    path = tmp_path / "a" / "b" / "model.bin"
    with pytest.raises(ZeroDivisionError), files.replacing(path):
        assert path.parent.is_dir()
        raise ZeroDivisionError
    assert tree(tmp_path) == {}
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_parents_stay_when_someone_else_uses_them(tmp_path):
    path = tmp_path / "a" / "model.bin"
    with pytest.raises(ZeroDivisionError), files.replacing(path):
        (tmp_path / "a" / "other").touch()
        raise ZeroDivisionError
    assert tree(tmp_path) == {"a": b"/", "a/other": b""}


def test_the_old_directory_comes_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    path = tmp_path / "model"
    fill(path, "old")
    before = tree(tmp_path)
    replace = os.replace

    def fail_for_the_new_one(source, target):
        if pathlib.Path(target) == path and (pathlib.Path(source) / "marker").read_text() == "new":
            raise OSError("the disk is gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new_one)
    with (
        pytest.raises(OSError, match="the disk is gone"),
        files.replacing(path, "marker") as temporary,
    ):
        fill(temporary, "new")
    assert tree(tmp_path) == before


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    missing = pytest.raises(FileNotFoundError, match="nothing was written")
    with missing, files.replacing(tmp_path / "model.bin"):
        pass
    assert tree(tmp_path) == {}


def test_a_link_keeps_pointing_where_it_did(tmp_path):
    target, link = tmp_path / "target.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with files.replacing(link) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with files.replacing(tmp_path / "ours") as temporary:
        temporary.touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("path", "marker", "error", "message"),
    [
        ("", None, ValueError, "empty"),
        ("directory", None, IsADirectoryError, "expected the path of a file"),
        ("file", "marker", FileExistsError, "expected a directory"),
        ("directory", "marker", FileExistsError, "holds files, but no marker"),
        ("file/below/it", None, NotADirectoryError, "expected a directory"),
        ("/proc/nowhere/model", None, OSError, "cannot be written to"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_block_runs(
    tmp_path, path, marker, error, message
):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "precious").touch()
    before = tree(tmp_path)
    target = tmp_path / path if path else ""
    with pytest.raises(error, match=message) as caught, files.replacing(target, marker):
        pytest.fail("the block ran")
    assert "path=" in str(caught.value)  # the line to write
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    refused = pytest.raises(PermissionError, match="cannot be written to")
    with refused, files.replacing(tmp_path / "model"):
        pytest.fail("the block ran")


def test_sizes_of_a_file_are_those_of_gzip(tmp_path):
    content = b"zeros " * 400_000 + os.urandom(1000)  # more than one piece
    (tmp_path / "file").write_bytes(content)
    assert files.sizes(tmp_path / "file") == files.Size(
        bytes=len(content), gzip_bytes=len(gzip.compress(content, 9))
    )


def test_sizes_of_a_directory_are_those_of_its_files_in_a_row(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"b" * 1000)
    (tmp_path / "a").write_bytes(b"a" * 500)
    assert files.sizes(tmp_path) == files.Size(
        bytes=1500, gzip_bytes=len(gzip.compress(b"a" * 500 + b"b" * 1000, 9))
    )
