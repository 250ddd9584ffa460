"""Super-resolution of one file: open, measure, restore, publish.

Data that grow with the number of slices lie in temporary files beside the outputs. These files have
no names and vanish with the process. Results get their names once all are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from mrcascade.jobs.common import Item
from mrcascade.jobs.measured import Measured, measure_input
from mrcascade.jobs.opened import Opened, checked_item, open_input, open_stacks
from mrcascade.jobs.progress import Report, SlicesDone
from mrcascade.jobs.publish import Publication
from mrcascade.jobs.report import report_beside
from mrcascade.jobs.request import Request
from mrcascade.jobs.results import ResultStores
from mrcascade.jobs.slices import restore_slices
from mrcascade.jobs.stacks import restore_stacks
from mrcascade.jobs.volumes import restore_volumes
from mrcascade.jobs.workspace import Workspace
from mrcascade.networks.compiled import Compiler
from mrcascade.pictures.report.head import check_report

Restore = Callable[
    [Opened, Measured, Workspace, Request, Report, Callable[[int], SlicesDone]], ResultStores
]


class Restored:
    """Restored pixels of one input, in temporary files until they are published.

    Attributes:
        bytes: size of these files.
        folder: folder of these files.
    """

    def __init__(self, publication: Publication, workspace: Workspace, stack: ExitStack) -> None:
        """stack: closes everything that is open for the input."""
        self._publication, self._stack = publication, stack
        self.bytes, self.folder = workspace.bytes, workspace.folder

    def publish(self) -> tuple[list[Path], str]:
        """Write all files and close everything; if anything fails, no file appears.

        Returns:
            The names of the files, and a line about the work.
        """
        with self._stack:
            return self._publication.write()

    def discard(self) -> None:
        """Drop the restored pixels and close everything."""
        self._stack.close()


def restore_file(
    item: Item,
    output: Path,
    request: Request,
    *,
    say: Report,
    progress: Callable[[int], SlicesDone],
) -> Restored:
    """Restore one file of a request without writing its outputs.

    Args:
        item: the input.
        output: folder of the results, or name of the result.
        request: job, prior and settings.
        say: called with one line per decision.
        progress: called with the number of slices, or of planes of a volume; returns a function
            that is called with the number of those that are done.

    Raises:
        MRCascadeError: the image cannot be read or restored, or outputs exist already.
    """
    item = checked_item(item)
    workspace = Workspace(item, output, request.job)
    if request.job.report:
        check_report(report_beside(workspace.targets["preview"]), request.job.overwrite)
    with ExitStack() as stack:
        opened = open_input(item, request, workspace.targets["result"], stack)
        for line in opened.describe():
            say(line)
        stack.enter_context(workspace)
        others = open_stacks(item, opened, request, stack)
        measured = measure_input(opened, workspace, request, say)
        restore: Restore = restore_slices
        if others:
            restore = partial(restore_stacks, others)
        elif request.job.isotropic is not None:
            restore = restore_volumes
        with _telling(request.prior.compiler, say):
            results = restore(opened, measured, workspace, request, say, progress)
        for line in results.warnings():
            say(f"warning: {line}")
        publication = Publication(request, workspace, opened, measured, results)
        return Restored(publication, workspace, stack.pop_all())
    raise AssertionError  # no context of the stack swallows an error


@contextmanager
def _telling(compiler: Compiler | None, say: Report) -> Iterator[None]:
    """Say what the compiler of the networks does, if there is one."""
    if compiler is None:
        yield
        return
    with compiler.telling(say):
        yield
    if failure := compiler.news():
        say(failure)
