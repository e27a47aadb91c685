"""What a lab consists of and what of it runs; ``smartxctl lab status -o json`` prints it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from smartxd.lab.process import Process
from smartxd.lab.state import ContainerRecord


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProcessStatus(_Frozen):
    """A process that the lab has started."""

    pid: int
    alive: bool

    @classmethod
    def of(cls, process: Process) -> ProcessStatus:
        """The process as it is now."""
        return cls(pid=process.pid, alive=process.alive)


class BoxStatus(_Frozen):
    """A box."""

    box: str
    namespace: str
    ready: bool
    """As the box's daemon says; False when it does not answer."""
    commit: str
    """The commit that is applied; empty before the first."""
    processes: dict[str, ProcessStatus]


class LabStatus(_Frozen):
    """A lab."""

    name: str
    folder: Path
    repo: Path
    head: str
    """The newest commit of the repo that the boxes follow."""
    center: str | None
    """Address of the centre's page; None in a bare lab."""
    center_process: ProcessStatus | None
    boxes: tuple[BoxStatus, ...]
    containers: dict[str, ContainerRecord]

    @property
    def well(self) -> bool:
        """Whether all that was started runs, and every box is Ready at ``head`` where smartxd runs at all."""
        processes = [p for box in self.boxes for p in box.processes.values()]
        ready = self.center_process is None or all(b.ready and b.commit == self.head for b in self.boxes)
        return ready and all(p.alive for p in (*processes, *filter(None, (self.center_process,))))
