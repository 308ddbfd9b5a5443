"""Every named crash point at every party, over pipes: the run ends as if nobody had died."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_whoever_dies_at_whatever_point_the_run_ends_as_if_nobody_had(tmp_path):
    path = os.pathsep.join(str(folder) for folder in (HERE.parent, HERE))
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_points.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {point: wrong for point, wrong in found.items() if wrong} == {}
    assert len(found) > 60
