"""JSON files: whole or not at all, without NaN, and lines that a kill cut off."""

import json
import math
import os
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
