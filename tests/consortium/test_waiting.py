import pytest

from grandtotal.consortium.waiting import BlocksOnDisk, on_disk

BLOCKS = [memoryview(block) for block in (b"first", b"secon", b"d")]


def test_blocks_come_back_from_the_disk_in_any_order(tmp_path):
    waiting = on_disk(BLOCKS, tmp_path / "north")
    assert isinstance(waiting, BlocksOnDisk)
    assert [waiting[i] for i in (2, 0, 1, 0, -1)] == [BLOCKS[i] for i in (2, 0, 1, 0, -1)]
    assert list(waiting) == waiting[:] == BLOCKS
    with pytest.raises(IndexError):
        waiting[3]


def test_nothing_of_them_is_left_to_find(tmp_path):
    waiting = on_disk(BLOCKS, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(waiting) == 3


@pytest.mark.parametrize("count", [0, 1])
def test_what_leaves_at_once_does_not_wait(count, tmp_path):
    assert on_disk(BLOCKS[:count], tmp_path) == BLOCKS[:count]
