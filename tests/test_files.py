"""JSON files: whole or not at all, without NaN, and lines that a kill cut off."""

import contextlib
import errno
import json
import math
import os
import pathlib
import socket

import numpy as np
import pytest

from autolabel_jax import files


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == files.read_json(path) == {"a": 1}


def test_arrays_come_back_and_replace_the_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "arrays.npz"
    files.write_npz(path, a=np.arange(3), b=np.eye(2, dtype=np.float32))
    monkeypatch.setattr(np, "savez", lambda file, **arrays: file.write(b"half") / 0)
    with pytest.raises(ZeroDivisionError):
        files.write_npz(path, a=np.zeros(9))
    with np.load(path) as saved:
        np.testing.assert_array_equal(saved["a"], [0, 1, 2])
        np.testing.assert_array_equal(saved["b"], np.eye(2, dtype=np.float32))


def test_numbers_that_are_not_finite_are_null(tmp_path):
    value = {"a": [math.nan, 1.5], "b": {"c": -math.inf}}
    files.write_json(tmp_path / "value.json", value)
    files.append_json_line(tmp_path / "lines.jsonl", value)
    expected = {"a": [None, 1.5], "b": {"c": None}}
    assert json.loads((tmp_path / "value.json").read_text()) == expected
    assert json.loads((tmp_path / "lines.jsonl").read_text()) == expected


def test_lines_come_back_without_the_one_that_was_cut_off(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert files.read_json_lines(path) == []
    files.append_json_line(path, {"a": 1})
    files.append_json_line(path, {"a": 2})
    with open(path, "a") as file:
        file.write('{"a": 3')
    lines = files.read_json_lines(path)
    assert lines == [{"a": 1}, {"a": 2}]
    files.rewrite_json_lines(path, lines[:1])
    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_lines_are_skipped(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\n[2]\n{"a": 3}\n{"a')
    assert files.read_json_lines(path) == [{"a": 1}, {"a": 3}]


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / "lock"
    with files.lock(path) as holder:
        assert holder is None
        with files.lock(path) as other:
            assert other == f"process {os.getpid()} on {socket.gethostname()}"
    with files.lock(path) as holder:
        assert holder is None


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "kept.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError), files.replacing(path) as file:
        file.writelines([b"half", "no bytes"])
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


def test_a_link_and_permissions_stay(tmp_path):
    path, link = tmp_path / "README.md", tmp_path / "link.md"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path.name)
    with files.replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink() and path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_device_or_folder_is_not_replaced(tmp_path):
    for path in (pathlib.Path("/dev/null"), tmp_path):
        with pytest.raises(ValueError, match=f"^{path}: is not a regular file$"):
            files.write_json(path, {})


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_json, files.read_json_lines, files.read_bytes):
        with pytest.raises(files.DamagedError, match="pipe: is not a regular file"):
            read(tmp_path / "pipe")


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path):
    """Or the object is the same: a name of the checksum that is changed makes it an older file."""
    path, value = tmp_path / "a.json", {"accuracy": 0.8125, "nested": {"b": [1, None]}, "n": 3}
    files.write_json(path, value, checksum=True)
    assert files.read_json(path) == value
    whole = path.read_bytes()
    for n in range(len(whole)):
        changed = bytearray(whole)
        changed[n] ^= 1
        path.write_bytes(changed)
        with contextlib.suppress(files.DamagedError):
            found = files.read_json(path)
            assert {name: found[name] for name in value} == value, n


def test_an_entry_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "b": {"c": 2, "c": 2}}')
    with pytest.raises(files.DamagedError, match="a.json: holds the entry 'c' twice"):
        files.read_json(path)


def test_half_a_line_does_not_swallow_the_next_one(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a')
    files.append_json_line(path, {"a": 2}, checksum=True)
    assert files.read_json_lines(path) == [{"a": 1}, {"a": 2}]
    with pytest.raises(files.DamagedError, match="lines.jsonl: line 2 cannot be read"):
        files.read_json_lines(path, strict=True)


def test_arrays_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "a.npz"
    files.write_npz(path, a=np.arange(100))
    whole = path.read_bytes()
    for content in (b"", whole[:-30], whole[:200] + b"x" + whole[201:]):
        path.write_bytes(content)
        with pytest.raises(files.DamagedError, match="a.npz: cannot be read as arrays"):
            files.read_npz(path)


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (files.write_json, files.append_json_line):
        with pytest.raises(OSError, match="No space left on device") as caught:
            write(path, {})
        assert caught.value.filename == str(path)


def test_line_ends_stay(tmp_path):
    path = tmp_path / "README.md"
    for content in (b"a\r\nb\r\n", b"a\nb\n"):
        path.write_bytes(content)
        files.write_text(path, files.read_text(path).replace("b", "c"))
        assert path.read_bytes() == content.replace(b"b", b"c")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(files.DamagedError, match="README.md: is not UTF-8"):
        files.read_text(path)
