"""Steps with their times: how a check reports."""

import json
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass
class Step:
    """One thing a person would do or see."""

    name: str
    seconds: float | None = None
    """None: it was not reached."""
    error: str = ""
    note: str = ""

    @property
    def result(self) -> str:
        """In a word."""
        if self.error:
            return "FAILED"
        return "not reached" if self.seconds is None else "ok"


def table(steps: list[Step], output: TextIO) -> None:
    """Print the steps, one a line."""
    width = max(len(step.name) for step in steps)
    print(f"\n{'step':<{width}}  seconds  result", file=output)
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.2f}"
        note = f"   {step.note}" if step.note else ""
        print(f"{step.name:<{width}}  {seconds:>7}  {step.result}{note}", file=output)


def json_line(steps: list[Step], **facts: Any) -> str:
    """Everything in one line, for programs."""
    return json.dumps(
        facts
        | {
            "steps": [
                {
                    "name": step.name,
                    "seconds": None if step.seconds is None else round(step.seconds, 3),
                    "result": step.result,
                }
                for step in steps
            ]
        }
    )
