"""The unattended check: what a person would do with the demo, and what they would have to see.

Everything goes through Home Assistant's own HTTP and WebSocket interfaces and the real config flow. What Home Assistant
shows is compared with the simulator's truth each time.
"""

import time
from typing import TYPE_CHECKING, TextIO

from .errors import DemoError
from .lock_steps import LockSteps
from .progress import say
from .rac import igrs_rac
from .remote_steps import RemoteSteps
from .report import Step, json_line, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .demo import Setup


class Check(LockSteps, RemoteSteps):
    """All steps, in order; the first that fails ends it."""

    def __init__(self, setup: Setup, version: str) -> None:
        super().__init__(setup)
        self.version = version
        self._steps: list[tuple[Step, Callable[[], Awaitable[str | None]]]] = [
            (Step(name), method)
            for name, method in (
                ("start simulator, server and Home Assistant", self._start),
                ("sign in on loopback", self._sign_in),
                ("lock discovered over Bluetooth", self._discover),
                ("malformed setup code refused", self._refuse_malformed),
                ("another lock's setup code refused", self._refuse_wrong),
                ("pair", self._pair),
                ("entities show the truth", self._entities),
                ("lock", self._lock),
                ("unlock", self._unlock),
                ("open", self._open),
                ("turned by hand is seen", self._by_hand),
                ("door opened and closed is seen", self._door),
                ("jam is seen, and told to who asked", self._jam),
                ("a person with a PIN is added", self._add_person),
                ("the PIN opens, and it is told who came", self._enter_pin),
                ("a wrong PIN is refused and told", self._wrong_pin),
                ("lock restarted (power pulled)", self._power),
                ("Home Assistant restarted, bolt turned meanwhile", self._restart),
                ("operate after the restart", self._after_restart),
                ("a remote access server is connected", self._link),
                ("two people join from afar by links", self._join),
                ("unlock from afar", self._unlock_remotely),
                ("turned by hand is seen from afar", self._follow),
                ("server killed, the lock used at home", self._kill_server),
                ("server started again, the lock used from afar", self._start_server),
                ("somebody removed is out everywhere", self._remove_remote),
                ("an old copy of the server revives nobody", self._old_server),
                ("each record is in the log once", self._read_log),
                ("the person is removed, the PIN refused", self._remove_person),
                ("release (factory reset)", self._release),
                ("discovered again in setup mode", self._again),
                ("no secret and no error in the logs", self._logs),
                ("stop", self._stop),
            )
        ]
        self._seconds = 0.0

    @property
    def steps(self) -> list[Step]:
        """The steps with their results so far."""
        return [step for step, _ in self._steps]

    @property
    def passed(self) -> bool:
        """Whether all steps were reached and none failed."""
        return all(step.result == "ok" for step in self.steps)

    async def run(self) -> bool:
        """Run the steps; whether all passed."""
        began = time.monotonic()
        try:
            for step, method in self._steps:
                say(step.name)
                await self._run_step(step, method)
                if step.error:
                    break
        finally:
            await self._close()
        self._seconds = time.monotonic() - began
        return self.passed

    async def _run_step(self, step: Step, method: Callable[[], Awaitable[str | None]]) -> None:
        began = time.monotonic()
        try:
            step.note = await method() or ""
        except (
            DemoError,
            igrs_rac.RacError,
            TimeoutError,
            OSError,
            KeyError,
            StopIteration,
        ) as err:
            step.error = str(err) or repr(err)
        step.seconds = time.monotonic() - began

    def report(self, output: TextIO) -> None:
        """Print the table, what failed and where the logs are; last one JSON line."""
        table(self.steps, output)
        failed = next((step for step in self.steps if step.error), None)
        print(f"\nHome Assistant {self.version}, {self._seconds:.1f} s in all", file=output)
        if failed:
            print(
                f"\nFAILED: {failed.name}\n  {failed.error}\n  logs: {self._demo.logs}", file=output
            )
        print(
            json_line(
                self.steps,
                check="demo",
                home_assistant=self.version,
                passed=self.passed,
                seconds=round(self._seconds, 2),
                error=failed.error if failed else None,
                logs=str(self._demo.logs) if failed else None,
            ),
            file=output,
            flush=True,
        )
