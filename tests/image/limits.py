"""A control group with a container's limits, in version 1 or 2."""

from pathlib import Path

from pod import quantity

CGROUPS = Path("/sys/fs/cgroup")
NAME = "countersign-proof"
PERIOD = 100_000


class Limits:
    def __init__(self, limits):
        memory, quota = int(quantity(limits["memory"])), int(quantity(limits["cpu"]) * PERIOD)
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

    def command(self, command):
        """The command, which enters the group before it begins: a program reads its limits when it starts."""
        enter = "".join(f'echo $$ >"{group}/cgroup.procs"; ' for group in self.groups)
        return ["sh", "-euc", enter + 'exec "$@"', "sh", *command]

    def report(self):
        kills = [line for line in self.kills.read_text().splitlines() if line.startswith("oom_kill ")]
        assert not kills or kills[0].endswith(" 0"), kills
        return f"{int(self.peak.read_text()) >> 20} MiB at most"

    def remove(self):
        for group in self.groups:
            group.rmdir()
