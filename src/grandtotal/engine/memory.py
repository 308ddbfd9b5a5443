"""Has glibc give back what a process no longer needs: messages of megabytes, made in many threads.

By default each thread allocates from an arena of its own, and what was once freed as a large block
is from then on kept in them: a process of thousands of rounds grew although it held nothing more.
https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
"""

import ctypes
import os

# Bytes of a block that goes back to the system at once. A smaller one is used again: the pages of a
# new one cost more than what is written into them, and a message is copied a dozen times.
_LARGE = 4 * 2**20
# By name in the environment: the number that mallopt knows it by, and the value.
_SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 2),
    "MALLOC_MMAP_THRESHOLD_": (-3, _LARGE),
    "MALLOC_TRIM_THRESHOLD_": (-1, _LARGE),
}


def give_back() -> None:
    """Sets it for this process and those that it starts; elsewhere than on glibc for none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, (number, value) in _SETTINGS.items():
        os.environ.setdefault(name, str(value))
        if mallopt is not None:
            mallopt(number, value)
