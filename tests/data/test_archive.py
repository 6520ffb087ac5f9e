import os
import subprocess
import sys

import numpy as np
import pytest

from ntksketch.data import archive
from ntksketch.data.archive import read_archive, write_archive

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "flag": np.array([True, False]), "text": "née"}


def test_what_is_written_is_read(tmp_path):
    write_archive(tmp_path / "state", ARRAYS)
    read = read_archive(tmp_path / "state")
    assert read.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == np.asarray(value).dtype
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "state.npz"
    write_archive(path, ARRAYS)
    old = path.read_bytes()

    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(archive.np if step == "savez" else archive.os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_archive(path, {"a": np.zeros(3)})
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["state.npz"]


KILLED = """
import os, sys
import numpy as np
from ntksketch.data.archive import write_archive

def killed(file):
    os._exit(9)

os.fsync = killed
write_archive(sys.argv[1], {"a": np.zeros(100_000)})
"""


def test_a_killed_write_leaves_the_old_file_and_hinders_no_later_one(tmp_path):
    path = tmp_path / "state.npz"
    write_archive(path, ARRAYS)
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert done.returncode == 9
    assert len(os.listdir(tmp_path)) == 2  # what was being written stays beside it
    np.testing.assert_array_equal(read_archive(path)["a"], ARRAYS["a"])
    write_archive(path, {"a": np.ones(2)})
    np.testing.assert_array_equal(read_archive(path)["a"], 1)
    assert os.listdir(tmp_path) == ["state.npz"]


def test_damaged_and_other_files_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    write_archive(path, ARRAYS)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state.npz is not a whole npz file"):
            read_archive(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="not a whole npz file"):
        read_archive(tmp_path / "one.npy")


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        read_archive(path)


def test_a_missing_file_and_a_missing_folder_say_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "state.npz")
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "none" / "state.npz", ARRAYS)
