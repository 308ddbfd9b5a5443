"""What a party sees of a run while it goes on: only what is in its own folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

from grandtotal.durable import Json, read_json, read_log
from grandtotal.engine.conduct import Held
from grandtotal.runfolder import RunFolder


class Lines:
    """The record of a run, a line each; `new` yields what was added since it was called last."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._shown: dict[Path, int] = {}

    def new(self) -> Iterator[str]:
        """Yields the lines that were not yielded before: segments and rounds, or what left."""
        here = self._folder.coordinator
        yield from self._added(here / "segments.jsonl", _segment)
        yield from self._added(here / "rounds.jsonl", _round)
        for path in sorted(self._folder.path.glob("retailers/*/egress.jsonl")):
            yield from self._added(path, _release)

    def _added(self, path: Path, tell: Callable[[Json], str]) -> Iterator[str]:
        records = read_log(path)
        yield from map(tell, records[self._shown.get(path, 0) :])
        self._shown[path] = len(records)

    @property
    def over(self) -> bool:
        """Whether nothing more will come without a person."""
        if self._folder.coordinator.exists():
            return self._folder.finished() is not None or not Held(self._folder).open
        return self._folder.is_complete()

    @property
    def standing(self) -> str:
        """How the run stands, in a line."""
        if not self._folder.coordinator.exists():
            return "finished here" if self.over else "not finished here"
        run, path = Held(self._folder), self._folder.coordinator / "state.json"
        why = read_json(path)["why"] if path.exists() else ""
        return f"{run.state}: {why}" if why else run.state


def _segment(record: Json) -> str:
    why = f": {record['why']}" if record["why"] else ""
    return f"{record['at']}  segment {record['event']}{why}"


def _round(record: Json) -> str:
    if "deliver" in record:
        return f"round {record['round']:>4}  {record['task']}: model delivered"
    members, size = len(record["members"]), max(record["bytes_out"].values())
    return (
        f"round {record['round']:>4}  {record['task']}: {record['query']}, {members} members, "
        f"{size:,} bytes from each, {record['seconds']:.2f} s"
    )


def _release(record: Json) -> str:
    return f"{record['at']}  left here: {record['query']}, {record['bytes']:,} bytes"
