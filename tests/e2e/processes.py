"""Who runs on this machine, and whose child it is."""

import subprocess


def running() -> dict[int, tuple[int, str]]:
    """Process -> its parent and its command line."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return {int(row[0]): (int(row[1]), row[-1]) for row in rows if not row[2].startswith("Z")}


def children(parent: int) -> dict[int, str]:
    """Its own and theirs, with their command lines."""
    found = running()
    family = {parent}
    while grown := {pid for pid, (above, _) in found.items() if above in family} - family:
        family |= grown
    return {pid: found[pid][1] for pid in family - {parent}}
