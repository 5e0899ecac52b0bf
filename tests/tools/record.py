"""What programs that write a record of numbers share: the processor, and a file whose notes stay."""
import os


def cpuinfo(key):
    with open("/proc/cpuinfo") as f:
        return next((l.split(":")[1].strip() for l in f if l.startswith(key)), "unknown")


def write(path, text):
    """`text` and a blank line, then what the file had from its first "## " on."""
    notes = ""
    if os.path.exists(path):
        with open(path) as f:
            before = f.read()
        notes = before[before.find("\n## "):] if "\n## " in before else ""
    with open(path, "w") as f:
        f.write(text + notes)
