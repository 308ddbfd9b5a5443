"""Commands as people type them, without the second that starting Python and importing costs."""

from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner, Result

from grandtotal.cli import main


def typed(*words: str, cwd: Path, status: int = 0) -> Result:
    """Returns what `grandtotal` with these words prints in a folder, and how it ends."""
    with chdir(cwd):
        done = CliRunner(env={"COLUMNS": "100"}).invoke(main, words)
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code == status, done.output
    return done
