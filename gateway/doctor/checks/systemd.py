"""What systemd says about a unit."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.doctor.host import Host


@dataclass(frozen=True, slots=True)
class Unit:
    """The state of a unit, in systemd's words; `systemctl show` with no such unit is `not-found`.

    Attributes:
        load: `loaded` or `not-found`.
        active: `active`, `failed`, `activating` …
        result: Why it ended: `success`, `exit-code`, `start-limit-hit` …
        restarts: How often systemd restarted it.
    """

    load: str = ""
    active: str = ""
    result: str = ""
    restarts: str = ""

    def __str__(self) -> str:
        words = [self.active if self.load == "loaded" else self.load]
        if self.result not in ("", "success"):
            words.append(f"result {self.result}")
        if self.restarts not in ("", "0"):
            words.append(f"{self.restarts} restarts")
        return ", ".join(word for word in words if word) or "unknown"


def show(host: Host, name: str) -> Unit | None:
    """Ask systemd; None if there is no systemd here."""
    try:
        done = host.run(
            "systemctl", "show", "--property=LoadState,ActiveState,Result,NRestarts", name
        )
    except OSError:
        return None
    if done.code:
        return None
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return Unit(
        values.get("LoadState", ""),
        values.get("ActiveState", ""),
        values.get("Result", ""),
        values.get("NRestarts", ""),
    )
