"""Figures, tables, the page of results.

    from unshrink.evaluation import evaluate

    for result in evaluate(["irn-x2", "irn-x4"], ["Set5", "my/photos"]):  # results/irn-x2/Set5.json, ...
        print(result["method"], result["set"], result["mean"]["psnr_y"])

Imported when it is first used, as a command that only compares two pictures needs none of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unshrink.evaluation.run import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from unshrink.evaluation.run import evaluate

        return evaluate
    raise AttributeError(f"module 'unshrink.evaluation' has no attribute {name!r}")
