"""Files appear whole or not at all, and their sizes are those that the system tells."""

import gzip
import os
import pathlib
import signal

import pytest

from kprune._support import atomic, files, temporaries

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


EXCHANGES = [pytest.param(True, id="exchange"), pytest.param(False, id="two renames")]


@pytest.fixture(params=EXCHANGES)
def exchanging(request, monkeypatch):
    """Whether the file system exchanges directories in one step."""
    if not request.param:
        monkeypatch.setattr(atomic, "exchange", lambda first, second: False)
    return request.param


def test_a_directory_is_replaced_in_either_way(tmp_path, exchanging):
    path = tmp_path / "model"
    fill(path, "old")
    with files.replacing(path, "marker") as temporary:
        fill(temporary, "new")
    assert tree(tmp_path) == {"model": b"/", "model/marker": b"new", "model/data": b"new" * 3}


def test_the_old_directory_comes_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    path = tmp_path / "model"
    fill(path, "old")
    before = tree(tmp_path)
    replace = os.replace

    def fail_for_the_new_one(source, target):
        if pathlib.Path(target) == path and (pathlib.Path(source) / "marker").read_text() == "new":
            raise OSError("the disk is gone")
        replace(source, target)

    monkeypatch.setattr(atomic, "exchange", lambda first, second: False)
    monkeypatch.setattr(os, "replace", fail_for_the_new_one)
    with (
        pytest.raises(OSError, match="the disk is gone"),
        files.replacing(path, "marker") as temporary,
    ):
        fill(temporary, "new")
    assert tree(tmp_path) == before


def child(work):
    """Forks a process that does some work and ends without cleaning up."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def test_a_kill_between_two_renames_is_mended_by_the_next_call(tmp_path, monkeypatch):
    path = tmp_path / "model"
    fill(path, "old")
    monkeypatch.setattr(atomic, "exchange", lambda first, second: False)

    def write_and_die():
        replace = os.replace

        def die_at_the_second(source, target):
            if pathlib.Path(target) == path:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = die_at_the_second
        with files.replacing(path, "marker") as temporary:
            fill(temporary, "new")

    os.waitpid(child(write_and_die), 0)
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), files.replacing(path, "marker"):
        assert (path / "marker").read_text() == "old"
        raise ZeroDivisionError
    assert tree(tmp_path) == {"model": b"/", "model/marker": b"old", "model/data": b"old" * 3}


def test_only_what_dead_writers_left_is_removed(tmp_path):
    path = tmp_path / "model.bin"
    ours = [".model.bin.bak", ".model.bin.abcdefgh", ".other.abcdefgh.kprune", "abcdefgh.kprune"]
    for name in ours:
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").touch()

    def write_and_die():
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(child(write_and_die), 0)
    (left,) = set(os.listdir(tmp_path)) - set(ours)
    with files.replacing(path) as living:
        assert not (tmp_path / left).exists()
        living.write_bytes(b"living")
        with files.replacing(path) as temporary:  # the first writer is still there
            temporary.write_bytes(b"second")
        assert path.read_bytes() == b"second" and living.read_bytes() == b"living"
    assert path.read_bytes() == b"living"
    assert set(os.listdir(tmp_path)) == {*ours, "model.bin"}


def test_a_lock_of_someone_else_holds_nothing_up(tmp_path, monkeypatch):
    """As `flock DIRECTORY python export.py` holds it: nothing is removed without it."""
    monkeypatch.setattr(temporaries.locked.__wrapped__, "__defaults__", (0.01,))
    path, left = tmp_path / "model.bin", tmp_path / ".model.bin.abcdefgh.kprune"
    left.mkdir()
    with temporaries.locked(tmp_path) as is_locked:
        assert is_locked
        with files.replacing(path) as temporary:
            temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new" and left.exists()
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"newer")
    assert os.listdir(tmp_path) == ["model.bin"]


def test_what_another_writer_put_there_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "model"
    with (
        pytest.raises(FileExistsError, match="holds files, but no marker"),
        files.replacing(path, "marker") as temporary,
    ):
        fill(temporary, "new")
        path.mkdir()
        (path / "precious").touch()
    assert tree(tmp_path) == {"model": b"/", "model/precious": b""}


def test_two_writers_to_one_directory_both_end_well(tmp_path, exchanging):
    path = tmp_path / "below" / "model"

    def write_often(text):
        for _ in range(100):
            with files.replacing(path, "marker") as temporary:
                fill(temporary, text)
        os._exit(0)

    pids = [child(lambda text=text: write_often(text)) for text in "ab"]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    text = (path / "marker").read_text()
    assert (path / "data").read_text() == 3 * text
    assert os.listdir(path.parent) == ["model"]


@pytest.mark.parametrize("marker", [None, "marker"])
def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, marker):
    """A file system may write a rename before the content of what is renamed."""
    path, events = tmp_path / "model", []
    fill(path, "old") if marker else path.write_text("old")
    kinds = {os.fsync: "flush", os.replace: "rename", atomic.exchange: "rename"}

    def note(function):
        def call(*arguments):
            first = arguments[0]
            name = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            events.append((kinds[function], pathlib.Path(name).name))
            return function(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", note(os.fsync))
    monkeypatch.setattr(os, "replace", note(os.replace))
    monkeypatch.setattr(atomic, "exchange", note(atomic.exchange))
    with files.replacing(path, marker) as temporary:
        fill(temporary, "new") if marker else temporary.write_text("new")
    content = {("flush", "model")} | ({("flush", "marker"), ("flush", "data")} if marker else set())
    place = events.index(("rename", "model"))
    assert set(events[:place]) == content
    assert events[place:] == [("rename", "model"), ("flush", tmp_path.name)]


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
