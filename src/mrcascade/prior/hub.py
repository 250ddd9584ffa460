"""Repositories of priors on the Hugging Face hub: their names, the local cache, download, upload.

Nothing goes over the network unless a caller downloads or uploads. The hub's address, the cache and
the token are those of huggingface_hub (``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcascade.errors import MRCascadeError
from mrcascade.messages.printable import printable, shortened

if TYPE_CHECKING:
    from types import ModuleType

INSTALL = "pip install 'mrcascade[hub]'"
_PART = r"(?!\S*(?:--|\.\.))[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_NAME = re.compile(
    rf"(?P<name>{_PART}/{_PART})(?P<folder>(?:/{_PART})*)(?:@(?P<revision>(?!\S*\.\.)\w[\w./-]*))?",
    re.ASCII,
)
_MAIN = "main"


@dataclass(frozen=True)
class Repository:
    """A prior's place on the hub, ``ORG/REPO[/FOLDER][@REVISION]``.

    Attributes:
        name: ``ORG/REPO``.
        folder: folder of the prior within the repository, "" for its root.
        revision: branch, tag or full commit hash.

    Example:
        >>> from mrcascade.prior.hub import Repository
        >>> Repository.of_name("lab/knee@v2")
        Repository(name='lab/knee', folder='', revision='v2')
    """

    name: str
    folder: str = ""
    revision: str = _MAIN

    @classmethod
    def of_name(cls, text: str) -> Repository | None:
        """Return the repository that a text names; None where it cannot be one's name."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        return cls(match["name"], match["folder"].strip("/"), match["revision"] or _MAIN)

    def __str__(self) -> str:
        folder = f"/{self.folder}" * bool(self.folder)
        return self.name + folder + f"@{self.revision}" * (self.revision != _MAIN)

    def cached(self, patterns: Sequence[str]) -> Path:
        """Return the prior's folder in the cache, without any access to the network.

        patterns: names of the files that matter; a star also matches slashes.

        Raises MRCascadeError where the repository, or one of these files, is not in the cache, or
        huggingface_hub is not installed.
        """
        library = _library()
        try:
            found = library.snapshot_download(
                self.name,
                revision=self.revision,
                allow_patterns=list(patterns),
                local_files_only=True,
            )
        except library.errors.LocalEntryNotFoundError as error:
            raise MRCascadeError(
                f"the hub's cache ({library.constants.HF_HUB_CACHE}) does not hold it wholly, and"
                f" nothing is downloaded unasked; `mrcascade info {self} --download` fetches it"
            ) from error
        return Path(found, self.folder)

    def download(self, patterns: Sequence[str], again: bool = False) -> Path:
        """Fetch files of the repository into the cache and return the prior's folder there.

        Files that the cache has are not fetched, unless ``again``. Raises MRCascadeError where the
        hub cannot be reached or refuses.
        """
        library = _library()
        try:
            found = library.snapshot_download(
                self.name,
                revision=self.revision,
                allow_patterns=list(patterns),
                force_download=again,
                tqdm_class=_terminal_bar(),
            )
        except Exception as error:  # networks, servers and disks fail in many ways
            raise self._failed(library, "downloaded", error) from error
        return Path(found, self.folder)

    def upload(self, folder: Path, message: str, private: bool | None = None) -> str:
        """Upload the files of a folder in one commit and return the name of that revision.

        The repository and the branch are made where they are missing.

        Args:
            folder: local folder of the prior.
            message: title of the commit.
            private: whether a new repository is private; None for the account's default.

        Raises:
            MRCascadeError: the hub cannot be reached or refuses.
        """
        library = _library()
        api = library.HfApi()
        try:
            api.create_repo(self.name, private=private, exist_ok=True)
            if self.revision != _MAIN:
                api.create_branch(self.name, branch=self.revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                path_in_repo=self.folder or None,
                revision=self.revision,
                commit_message=message,
            )
        except Exception as error:  # networks and servers fail in many ways
            raise self._failed(library, "uploaded", error) from error
        return str(Repository(self.name, self.folder, commit.oid))

    def _failed(self, library: Any, what: str, error: Exception) -> MRCascadeError:
        """Return an error of the hub as one line that says what to do."""
        errors, hub = library.errors, library.constants.ENDPOINT
        reason = shortened(printable(" ".join(str(error).split())) or type(error).__name__, 300)
        if isinstance(error, errors.GatedRepoError):
            reason = f"its owner must grant access; ask for it at {hub}/{self.name}"
        elif isinstance(error, errors.RepositoryNotFoundError):
            reason = (
                f"{hub} has no such repository, or not for you; check the name, or log in with"
                " `hf auth login` or HF_TOKEN"
            )
        elif isinstance(error, errors.RevisionNotFoundError):
            reason = f"the repository has no revision {self.revision!r}; check the name"
        elif isinstance(error, errors.LocalEntryNotFoundError):
            reason = f"{hub} cannot be reached; try later, or give the folder of a prior"
        return MRCascadeError(f"{self}: not {what}: {reason}")


def _library() -> ModuleType:
    """Import huggingface_hub. Raises MRCascadeError where it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise MRCascadeError(
            f"priors of the hub need the package huggingface_hub: {INSTALL}"
        ) from error
    return huggingface_hub


def _terminal_bar() -> type:
    """Return a progress bar of downloads that only a terminal shows; huggingface_hub draws it."""
    from tqdm import tqdm

    class TerminalBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": None})

    return TerminalBar
