"""Formats that are a zip archive with the contract as one of its members.

Members are stored, not deflated, so that a size in the directory is the size that is read.
"""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.contract import Contract
from edgecnn.errors import ArtifactError
from edgecnn.files import writing

MAX_TEXT_BYTES = 16 << 20

# The earliest time that zip can state; a fixed one keeps equal contents equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@contextmanager
def opening(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive to read from.

    Raises:
        ArtifactError: the archive is damaged, or a member is compressed, encrypted or twofold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_odd_members(archive, path)
            yield archive
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise ArtifactError(f"{path}: the archive is damaged or truncated ({error}).") from error


def member_bytes(archive: zipfile.ZipFile, member: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a member.

    Raises:
        ArtifactError: the archive lacks the member, or it is larger than ``limit`` bytes.
    """
    if member not in archive.namelist():
        raise ArtifactError(f"{archive.filename}: the archive lacks {member}.")
    if archive.getinfo(member).file_size > limit:
        raise ArtifactError(f"{archive.filename}: {member} is larger than {limit} bytes.")
    return archive.read(member)


def contract_text(archive: zipfile.ZipFile, member: str) -> str | None:
    """Return the contract's JSON, or None where the archive carries none."""
    return member_bytes(archive, member).decode() if member in archive.namelist() else None


def write_archive(target: Path, members: dict[str, bytes]) -> None:
    """Write a new archive with ``members`` in their order."""
    with zipfile.ZipFile(target, "w") as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), data)


def write_contract(path: Path, member: str, contract: Contract) -> None:
    """Rewrite the archive with ``contract`` as ``member``, replacing one that is there."""
    with (
        opening(path) as old,
        writing(path) as temporary,
        zipfile.ZipFile(temporary, "w") as new,
    ):
        for info in old.infolist():
            if info.filename != member:
                entry = zipfile.ZipInfo(info.filename, _EPOCH)
                entry.file_size = info.file_size
                with old.open(info) as source, new.open(entry, "w") as copy:
                    shutil.copyfileobj(source, copy)
        new.writestr(zipfile.ZipInfo(member, _EPOCH), contract.to_json())


def _refuse_odd_members(archive: zipfile.ZipFile, path: Path) -> None:
    seen: set[str] = set()
    for info in archive.infolist():
        folded = info.filename.casefold()
        if folded in seen:
            raise ArtifactError(f"{path}: the archive has {info.filename} twice.")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ArtifactError(f"{path}: {info.filename} is compressed or encrypted.")
        seen.add(folded)
