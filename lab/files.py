"""Files that a full disk or a kill must not leave half of."""

from pathlib import Path

from mesh.steps.workdir import write_private

UNFINISHED = ".new"  # at the end of the name of a file that is not whole yet


def write_whole(path: Path, text: str) -> None:
    """Write a file that only we can read, all of it or none."""
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        write_private(unfinished, text)
    except OSError as error:
        error.filename = str(path)  # the system names a file only where it can't open it
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.replace(path)
