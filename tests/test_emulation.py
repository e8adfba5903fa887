"""What can be known of the emulated phone without one; the counts are a benchmark's own affair."""

import pathlib
import subprocess

import pytest

from benchmarks.parts.phone import emulation


@pytest.fixture
def phone(tmp_path):
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    for name in ("python3", "python3.11", "python3.11-config"):
        (tmp_path / "usr" / "bin" / name).touch()
    (tmp_path / emulation.PLUGIN).touch()
    return emulation.Phone(tmp_path)


def say(monkeypatch, stderr, returncode=0):
    """Lets every program end with these words, and returns what was started."""
    started = []

    def run(command, **_):
        started.append([str(each) for each in command])
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return started


def test_the_instructions_between_two_marks_are_counted(phone, monkeypatch):
    started = say(monkeypatch, "INFO: XNNPACK\nexecuted 1000\nexecuted 1234\n")
    assert phone.instructions("model.tflite") == 234
    (command,) = started
    assert command[0] == "qemu-aarch64" and command[-1] == "model.tflite"
    assert str(phone.root / "usr/bin/python3.11") in command


@pytest.mark.parametrize(("words", "status"), [("executed 1\nkilled", 139), ("executed 1\n", 0)])
def test_a_file_that_does_not_run_is_an_error(phone, monkeypatch, words, status):
    say(monkeypatch, words, status)
    with pytest.raises(RuntimeError, match=r"model\.tflite does not run under qemu-aarch64"):
        phone.instructions("model.tflite")


def test_a_missing_program_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    started = say(monkeypatch, "")
    monkeypatch.setattr("shutil.which", lambda name: None if name == "qemu-aarch64" else name)
    with pytest.raises(RuntimeError, match=r"apt-get install .*qemu-user"):
        emulation.prepare(tmp_path / "arm")
    assert not started and not (tmp_path / "arm").exists()


def test_a_phone_that_is_there_is_used_again(phone, monkeypatch):
    started = say(monkeypatch, "")
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert emulation.prepare(phone.root) == phone
    assert not started


def test_a_phone_that_fails_to_be_made_leaves_nothing(tmp_path, monkeypatch):
    say(monkeypatch, "no network", 100)
    monkeypatch.setattr("shutil.which", lambda name: name)
    with pytest.raises(RuntimeError, match=r"apt-get update failed:\nno network"):
        emulation.prepare(tmp_path / "arm")
    assert not list(pathlib.Path(tmp_path).iterdir())
