"""Names of files: those that a process sees, and those that a crash leaves.

Creating, renaming and removing are changes that wait in the file system's journal. `settle` of a
directory makes its changes durable; of the others a crash keeps any. A rename is one change, so a
file has its old name or its new one, never both or none.

Where it differs from a real file system: directories are durable as soon as they are made (ext4,
XFS and Btrfs bring down a new file's directories with it), and a file stays in its directory.
"""

from pathlib import Path

import msgspec

from bastide.parts.sim.disk.inode import Dice, Inode, draw_part


class Change(msgspec.Struct, frozen=True, eq=False):
    """From here on `inode` has the name `path` in `directory`; or none."""

    directory: Path
    inode: Inode
    path: Path | None

    def apply(self, names: dict[Path, Inode]) -> None:
        for old in [path for path, inode in names.items() if inode is self.inode]:
            del names[old]
        if self.path is not None:
            names[self.path] = self.inode


class Names:
    def __init__(self, image: dict[Path, Inode] | None = None) -> None:
        self.now = dict(image or {})
        self.durable = dict(self.now)
        self.directories = {Path("/")}
        self._changes: list[Change] = []
        for path in self.now:
            self.make_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        self.directories.update((path, *path.parents))

    def list_(self, directory: Path) -> list[str]:
        found = [path.name for path in self.now if path.parent == directory]
        found += [path.name for path in self.directories if path.parent == directory != path]
        return sorted(found)

    def name(self, path: Path, inode: Inode) -> None:
        """A new file, or one that had another name in the same directory."""
        self._change(Change(path.parent, inode, path))

    def remove(self, path: Path) -> Inode:
        inode = self.now[path]
        self._change(Change(path.parent, inode, None))
        return inode

    def _change(self, change: Change) -> None:
        change.apply(self.now)
        self._changes.append(change)

    def pending(self, directory: Path) -> list[Change]:
        return [change for change in self._changes if change.directory == directory]

    def settle(self, changes: list[Change]) -> None:
        """They are durable: `pending` when a sync began that has ended well."""
        for change in changes:
            if change in self._changes:  # else another sync was faster
                self._changes.remove(change)
                change.apply(self.durable)

    def copy(self) -> "Names":
        """As the next process finds it."""
        copies: dict[Inode, Inode] = {}

        def copied(inode: Inode) -> Inode:
            if inode not in copies:
                copies[inode] = inode.copy()
            return copies[inode]

        copy = Names()
        copy.directories = set(self.directories)
        copy.now = {path: copied(inode) for path, inode in self.now.items()}
        copy.durable = {path: copied(inode) for path, inode in self.durable.items()}
        copy._changes = [
            Change(change.directory, copied(change.inode), change.path) for change in self._changes
        ]
        return copy

    def torn(self, dice: Dice) -> "Names":
        """As the machine finds it after a crash."""
        left, part = dict(self.durable), draw_part(dice)
        for change in self._changes:
            if dice.random() < part:
                change.apply(left)
        torn = Names({path: inode.torn(dice) for path, inode in left.items()})
        torn.directories = set(self.directories)
        return torn
