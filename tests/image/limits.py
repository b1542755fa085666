"""A control group with a container's limits, in version 1 or 2."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NAME = "countersign-image"
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
PERIOD = 100_000


def size(text):
    return int(text[:-2]) * UNITS[text[-2:]]


def cores(text):
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


class Limits:
    def __init__(self, pid, limits):
        memory, quota = size(limits["memory"]), int(cores(limits["cpu"]) * PERIOD)
        if (CGROUPS / "cgroup.controllers").exists():
            self.groups = [CGROUPS / NAME]
            files = {"memory.max": memory, "cpu.max": f"{quota} {PERIOD}"}
            self.peak, self.kills = CGROUPS / NAME / "memory.peak", CGROUPS / NAME / "memory.events"
        else:
            self.groups = [CGROUPS / kind / NAME for kind in ("memory", "cpu")]
            files = {"memory.limit_in_bytes": memory, "cpu.cfs_period_us": PERIOD, "cpu.cfs_quota_us": quota}
            self.peak, self.kills = self.groups[0] / "memory.max_usage_in_bytes", self.groups[0] / "memory.oom_control"
        for group in self.groups:
            group.mkdir(exist_ok=True)
            for name, value in files.items():
                if (group / name).exists():
                    (group / name).write_text(str(value))
            (group / "cgroup.procs").write_text(str(pid))

    def report(self):
        kills = [line for line in self.kills.read_text().splitlines() if line.startswith("oom_kill ")]
        assert not kills or kills[0].endswith(" 0"), kills
        return f"{int(self.peak.read_text()) >> 20} MiB at most"

    def remove(self):
        for group in self.groups:
            group.rmdir()
