import numpy as np
import pytest

from grandtotal.algorithms.model import load_arrays, save_arrays
from grandtotal.durable import arrays_digest
from grandtotal.errors import RunError


def test_arrays_and_meta_come_back_as_they_were_saved(tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    arrays = {
        "weights": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "none": np.empty((0, 0), np.float32),
        "number": np.asarray(3.5),
        "steps": np.arange(10)[::3],
    }
    meta = {"model": "ease", "l2": 0.1, "nested": [{"ä": None}]}
    save_arrays(path, arrays, meta)
    found, read = load_arrays(path)
    assert arrays_digest(found) == arrays_digest(arrays)
    assert read == meta


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "another file"])
def test_a_file_that_is_no_model_is_refused_by_its_name(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    save_arrays(path, {"weights": np.ones(3)}, {})
    content = {"cut": path.read_bytes()[:-1], "empty": b"", "another file": b"<html>" * 9}
    path.unlink() if damage == "gone" else path.write_bytes(content[damage])
    with pytest.raises(RunError, match=r"model\.safetensors: no model can be read"):
        load_arrays(path)
