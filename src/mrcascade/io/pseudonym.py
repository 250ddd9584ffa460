"""Names and identifiers that replace a patient's, made with a secret salt."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from mrcascade.errors import MRCascadeError
from mrcascade.storage.files import read_bytes

_SALT_BYTES = 32
_FEWEST_BYTES = 16  # a shorter secret could be guessed


class Pseudonyms:
    """Replacements of identifiers: HMAC-SHA256 with a salt.

    Equal salts give equal replacements. Without the salt nobody can match a replacement to its
    identifier, not even with the originals.
    """

    def __init__(self, salt: bytes | None = None) -> None:
        """Make pseudonyms with a secret salt; None draws a random one, which is not kept."""
        self._salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt

    @classmethod
    def of_file(cls, path: Path) -> Pseudonyms:
        """Return pseudonyms with the salt in ``path``; a missing file is made with a new salt.

        Only its owner may read the new file. Processes that start at the same time share one.
        Raises MRCascadeError where the file cannot be read or made, or has fewer than 16 bytes.
        """
        try:
            if not path.exists():
                _create(path)
            salt = read_bytes(path).strip()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise MRCascadeError(f"salt file {path}: {reason}; name another file") from error
        if len(salt) < _FEWEST_BYTES:
            raise MRCascadeError(
                f"salt file {path}: has {len(salt)} bytes, and a secret needs at least"
                f" {_FEWEST_BYTES}; name a file that does not exist yet, and one is made"
            )
        return cls(salt)

    def digest(self, text: str) -> str:
        """Return the replacement of ``text``: 64 hexadecimal digits."""
        return hmac.new(self._salt, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def uid(self, uid: str) -> str:
        """Return the replacement of a DICOM UID, which is a UID, too."""
        from pydicom.uid import generate_uid

        return generate_uid(entropy_srcs=[self.digest(f"uid {uid}")])

    def name(self, uid: str) -> str:
        """Return the name of outputs of the series ``uid``."""
        return f"anon-{self.digest(f'name {uid}')[:8]}"

    def source(self, sha256: str) -> str:
        """Return the replacement of an input's hash; it is equal for equal inputs and salts."""
        return self.digest(f"source {sha256}")


def _create(path: Path) -> None:
    """Make the file with a random salt, in one step, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(_SALT_BYTES) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
