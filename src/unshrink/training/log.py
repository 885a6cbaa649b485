"""What a run tells on its way: lines of JSON, TensorBoard events."""

import json
from pathlib import Path
from typing import Any


class Log:
    """Lines of JSON in ``log.jsonl``, and the same numbers as TensorBoard events where that is installed.

    Args:
        folder: of the run; None for a process that writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.file = self.board = None
        if folder is None:
            return
        self.file = (folder / "log.jsonl").open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.board = SummaryWriter(str(folder))

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self.file, self.board):
            if part:
                part.close()

    def write(self, row: dict[str, Any]) -> None:
        """One row; it must have a "step"."""
        if self.file:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
        for key, value in row.items():
            if self.board and key != "step" and isinstance(value, int | float):
                self.board.add_scalar(key, value, row["step"])
